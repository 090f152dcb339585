-- Nothing to do: here the file itself is asked whether it is still the one that was opened.
SELECT 1;
