-- Of a hundred thousand runs that wait, room that nothing needs is a fifth of the tables. A turn's update of a run finds room where
-- the turn before last stood; work and outbox are changed in columns that have an index, so that no room of theirs saves anything.
ALTER TABLE runs SET (fillfactor = 90);
ALTER TABLE work SET (fillfactor = 90);
ALTER TABLE outbox SET (fillfactor = 100);
