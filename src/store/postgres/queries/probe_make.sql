INSERT INTO probe (body) VALUES (decode(repeat('00', 16384), 'hex')) RETURNING n
