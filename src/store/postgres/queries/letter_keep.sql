-- $1 the letter, $2 until when its holder has it, $3 until when from now on. Nothing when another has it by now, or it is over.
UPDATE letters SET held_until = $3 WHERE n = $1 AND due_at IS NOT NULL AND held_until = $2
