-- Fails, and with it the transaction, unless the statement before changed as many rows: ? is how many.
SELECT json(iif(changes() = ?, 'true', 'a run does not stand where it should'))
