-- name: forget
-- What a comet said of its backends; some rows a comet.
DELETE FROM executor_backends WHERE node = $1;

-- name: tell
-- What it says now.
INSERT INTO executor_backends (node, name, is_available, egress_reason)
SELECT $1, said.name, said.is_available, said.egress_reason
FROM unnest($2::text[], $3::boolean[], $4::text[]) AS said (name, is_available, egress_reason);

-- name: egress
-- Why the instances of a backend reach no network, comet by comet, those that can first; $1 null: of any that can run.
SELECT egress_reason
FROM executor_backends
WHERE CASE WHEN $1::text IS NULL THEN is_available ELSE name = $1 END
ORDER BY egress_reason
LIMIT 1;
