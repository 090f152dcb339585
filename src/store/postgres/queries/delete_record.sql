DELETE FROM records WHERE enterprise = $1 AND collection = $2 AND key = $3 AND version = $4
