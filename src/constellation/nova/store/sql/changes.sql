-- name: after
-- Changes later than a number, in order.
-- index: changes_pkey
SELECT seq, kind, tenant, namespace, name, at FROM changes WHERE seq > $1 ORDER BY seq LIMIT $2;

-- name: bounds
-- The oldest number that is kept and the newest one; 0 when there is none.
-- index: changes_pkey
SELECT coalesce(min(seq), 0) AS oldest, coalesce(max(seq), 0) AS newest FROM changes;
