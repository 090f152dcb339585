-- Nothing to do: SQLite leaves no room in its pages.
SELECT 1;
