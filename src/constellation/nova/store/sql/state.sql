-- name: get
-- One key that is not past its time.
-- index: function_state_pkey
SELECT key, value, version, expires_at, octet_length(value) AS size_bytes, updated_at
FROM function_state
WHERE tenant = $1 AND namespace = $2 AND is_shared = $3 AND store = $4 AND key = $5
  AND (expires_at IS NULL OR expires_at > now());

-- name: list
-- Keys with a prefix, in byte order, after key $6.
-- index: function_state_pkey
SELECT key, version, expires_at, octet_length(value) AS size_bytes, updated_at
FROM function_state
WHERE tenant = $1 AND namespace = $2 AND is_shared = $3 AND store = $4 AND key ^@ $5 AND key > $6
  AND (expires_at IS NULL OR expires_at > now())
ORDER BY key
LIMIT $7 OFFSET $8;

-- name: count
-- How many keys with a prefix there are, counted up to $6; those past their time that are not forgotten yet included.
-- index: function_state_pkey
SELECT count(*)
FROM (SELECT FROM function_state
      WHERE tenant = $1 AND namespace = $2 AND is_shared = $3 AND store = $4 AND key ^@ $5
      LIMIT $6) AS counted;

-- name: change
-- A new value for a key that is there; $8 is the version that it must have, or null. No row: it is not so.
-- index: function_state_pkey
UPDATE function_state
SET value = $6, version = version + 1, expires_at = now() + make_interval(secs => $7), updated_at = now()
WHERE tenant = $1 AND namespace = $2 AND is_shared = $3 AND store = $4 AND key = $5
  AND (expires_at IS NULL OR expires_at > now()) AND ($8::bigint IS NULL OR version = $8)
RETURNING version;

-- name: lock
-- Lets one transaction at a time add keys to a store, so that its bound holds.
SELECT pg_advisory_xact_lock(hashtextextended(concat_ws('/', 'state', $1::text, $2::text, $3::boolean, $4::text), 0));

-- name: add
-- A key that is not there, or past its time. No row: it is there.
-- index: function_state_pkey
INSERT INTO function_state AS held (tenant, namespace, is_shared, store, key, value, version, expires_at, function_name)
VALUES ($1, $2, $3, $4, $5, $6, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
        now() + make_interval(secs => $7), CASE WHEN $3 THEN NULL ELSE $4 END)
ON CONFLICT (tenant, namespace, is_shared, store, key) DO UPDATE
    SET value = excluded.value, version = greatest(held.version + 1, excluded.version),
        expires_at = excluded.expires_at, created_at = now(), updated_at = now()
    WHERE held.expires_at <= now()
RETURNING version;

-- name: delete
-- A key; $6 is the version that it must have, or null. No row: it is not so.
-- index: function_state_pkey
DELETE FROM function_state
WHERE tenant = $1 AND namespace = $2 AND is_shared = $3 AND store = $4 AND key = $5
  AND (expires_at IS NULL OR expires_at > now()) AND ($6::bigint IS NULL OR version = $6)
RETURNING version;
