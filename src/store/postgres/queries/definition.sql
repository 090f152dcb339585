SELECT name, source FROM definitions WHERE hash = $1
