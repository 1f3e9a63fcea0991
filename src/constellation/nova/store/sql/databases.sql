-- name: insert
-- A new database, which its server may not have yet.
INSERT INTO databases (tenant, namespace, name, kind, access, admin_secret, database_name, role_name, key_version,
                       sealed_key, sealed_value, max_sessions, instance_sessions, statement_timeout_s,
                       idle_transaction_s, max_rows, max_bytes, statements_per_s, size_mb)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19);

-- name: set_ready
-- That the server has a database and its role.
-- index: databases_pkey or databases_role_name_key
UPDATE databases SET is_ready = true, version = version + 1
WHERE tenant = $1 AND namespace = $2 AND name = $3 AND role_name = $4;

-- name: get
-- One database without its password, and the first $4 functions that use it.
-- index: databases_pkey
SELECT tenant, namespace, name, kind, access, admin_secret, database_name, role_name, is_ready, max_sessions,
       instance_sessions, statement_timeout_s, idle_transaction_s, max_rows, max_bytes, statements_per_s, size_mb,
       size_bytes, fullness, version, created_at, updated_at,
       ARRAY(SELECT function_name FROM function_databases AS used
             WHERE used.tenant = $1 AND used.namespace = $2 AND used.database = databases.name
             ORDER BY function_name LIMIT $4) AS functions,
       (SELECT count(*) FROM function_databases AS used
        WHERE used.tenant = $1 AND used.namespace = $2 AND used.database = databases.name) AS functions_count
FROM databases
WHERE tenant = $1 AND namespace = $2 AND name = $3;

-- name: list
-- The databases of a scope by name; $3 is a part of the name, or null.
-- index: databases_pkey
SELECT tenant, namespace, name, kind, access, admin_secret, database_name, role_name, is_ready, max_sessions,
       instance_sessions, statement_timeout_s, idle_transaction_s, max_rows, max_bytes, statements_per_s, size_mb,
       size_bytes, fullness, version, created_at, updated_at,
       ARRAY(SELECT function_name FROM function_databases AS used
             WHERE used.tenant = $1 AND used.namespace = $2 AND used.database = databases.name
             ORDER BY function_name LIMIT $4) AS functions,
       (SELECT count(*) FROM function_databases AS used
        WHERE used.tenant = $1 AND used.namespace = $2 AND used.database = databases.name) AS functions_count
FROM databases
WHERE tenant = $1 AND namespace = $2 AND ($3::text IS NULL OR strpos(name, lower($3)) > 0)
ORDER BY name
LIMIT $5 OFFSET $6;

-- name: count
-- How many databases `list` has in all.
-- index: databases_pkey
SELECT count(*) FROM databases
WHERE tenant = $1 AND namespace = $2 AND ($3::text IS NULL OR strpos(name, lower($3)) > 0);

-- name: count_own
-- How many databases a tenant has on the platform's own server.
-- index: databases_pkey or databases_by_secret
SELECT count(*) FROM databases WHERE tenant = $1 AND admin_secret IS NULL;

-- name: own
-- The next $2 databases on the platform's own server behind a role's name, by that.
-- index: databases_role_name_key
SELECT tenant, namespace, name, kind, access, admin_secret, database_name, role_name, is_ready, max_sessions,
       instance_sessions, statement_timeout_s, idle_transaction_s, max_rows, max_bytes, statements_per_s, size_mb,
       size_bytes, fullness, version, created_at, updated_at, ARRAY[]::text[] AS functions, 0 AS functions_count
FROM databases
WHERE admin_secret IS NULL AND is_ready AND role_name > $1
ORDER BY role_name
LIMIT $2;

-- name: measured
-- How large the database of a role is, and how full. It is no change of the row.
-- index: databases_pkey or databases_role_name_key
UPDATE databases SET size_bytes = $3, fullness = $4
WHERE tenant = $1 AND role_name = $2 AND (size_bytes, fullness) IS DISTINCT FROM ($3, $4);

-- name: size_of
-- How large a database on the platform's own server may be, and how full it is.
-- index: databases_pkey
SELECT size_mb, size_bytes, fullness FROM databases WHERE tenant = $1 AND namespace = $2 AND name = $3 AND size_mb IS NOT NULL;

-- name: names
-- Which of some names are databases of a scope.
-- index: databases_pkey
SELECT name FROM databases WHERE tenant = $1 AND namespace = $2 AND name = ANY ($3::text[]);

-- name: sealed
-- What is stored of a database's password.
-- index: databases_pkey
SELECT key_version, sealed_key, sealed_value FROM databases WHERE tenant = $1 AND namespace = $2 AND name = $3;

-- name: update
-- The limits of a database that is still at row version $4.
-- index: databases_pkey
UPDATE databases
SET max_sessions = $5, instance_sessions = $6, statement_timeout_s = $7, idle_transaction_s = $8, max_rows = $9,
    max_bytes = $10, statements_per_s = $11, size_mb = $12, version = version + 1, updated_at = now()
WHERE tenant = $1 AND namespace = $2 AND name = $3 AND version = $4;

-- name: delete_role
-- The database of a role.
-- index: databases_pkey or databases_role_name_key
DELETE FROM databases WHERE tenant = $1 AND namespace = $2 AND name = $3 AND role_name = $4;

-- name: versions_using
-- The first $4 versions that use a database and are not live, and how many there are in all.
-- index: version_databases_pkey
SELECT f.name || ':' || used.version AS version, count(*) OVER () AS count
FROM version_databases AS used
JOIN functions AS f ON f.tenant = used.tenant AND f.id = used.function_id
WHERE used.tenant = $1 AND used.namespace = $2 AND used.database = $3 AND used.version <> f.live_version
ORDER BY f.name, used.version
LIMIT $4;

-- name: leftovers
-- Some of what servers still have, the oldest first.
SELECT tenant, namespace, role_name, database_name, admin_secret FROM database_leftovers
ORDER BY created_at, role_name LIMIT $1;

-- name: forget_leftover
-- What was taken down.
-- index: database_leftovers_pkey
DELETE FROM database_leftovers WHERE tenant = $1 AND role_name = $2;

-- name: insert_requests
-- Writes rows, one of the arrays each, of databases that are still there; one that was written before is left alone.
-- index: database_requests_pkey or databases_pkey
INSERT INTO database_requests (tenant, namespace, database, id, function_name, function_version, session, statement,
                               outcome, code, rows, bytes, duration_ms)
SELECT row.tenant, row.namespace, row.database, id, function_name, function_version, session, statement, outcome, code,
       rows, bytes, duration_ms
FROM unnest($1::text[], $2::text[], $3::text[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
            $10::text[], $11::bigint[], $12::bigint[], $13::double precision[])
     AS row (tenant, namespace, database, id, function_name, function_version, session, statement, outcome, code, rows,
             bytes, duration_ms)
JOIN databases AS known
     ON known.tenant = row.tenant AND known.namespace = row.namespace AND known.name = row.database
ON CONFLICT (tenant, namespace, database, id) DO NOTHING;

-- name: list_requests
-- What sessions of a database did, newest first. Null leaves a filter out: $4 function, $5 outcome, $6 and $7 the first
-- and last instant, $8 what took at least so many milliseconds.
-- index: database_requests_pkey
SELECT id, function_name, function_version, session, statement, outcome, code, rows, bytes, duration_ms
FROM database_requests
WHERE tenant = $1 AND namespace = $2 AND database = $3
  AND ($4::text IS NULL OR function_name = $4)
  AND ($5::text IS NULL OR outcome = $5)
  AND id >= uuid7_floor(greatest($6::timestamptz, 'epoch'))
  AND id < uuid7_floor(greatest(coalesce($7::timestamptz + interval '1 millisecond', '9999-01-01'), 'epoch'))
  AND ($8::double precision IS NULL OR duration_ms >= $8)
ORDER BY id DESC
LIMIT $9 OFFSET $10;

-- name: count_requests
-- How many rows `list_requests` has in all, counted up to $9.
-- index: database_requests_pkey
SELECT count(*)
FROM (SELECT FROM database_requests
      WHERE tenant = $1 AND namespace = $2 AND database = $3
        AND ($4::text IS NULL OR function_name = $4)
        AND ($5::text IS NULL OR outcome = $5)
        AND id >= uuid7_floor(greatest($6::timestamptz, 'epoch'))
        AND id < uuid7_floor(greatest(coalesce($7::timestamptz + interval '1 millisecond', '9999-01-01'), 'epoch'))
        AND ($8::double precision IS NULL OR duration_ms >= $8)
      LIMIT $9) AS counted;
