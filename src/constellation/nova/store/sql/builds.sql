-- name: lock
-- Lets no function be deployed, deleted or put live by anybody else until the transaction ends; taken before any row is.
SELECT lock_changes();

-- name: insert
-- A build in line.
INSERT INTO builds (tenant, namespace, id, function_id, function_name, code_version, code_hash, runtime, handler)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
RETURNING tenant, namespace, id, function_id, function_name, code_version, code_hash, runtime, handler, state, error, attempt,
          is_cached, artifact, log_bytes, log_truncated, created_at, started_at, finished_at;

-- name: count_pending
-- How many builds of a tenant stand in line.
-- index: builds_pending
SELECT count(*) FROM builds WHERE tenant = $1 AND state = 'pending';

-- name: supersede
-- Ends every build of a function that is not over.
-- index: builds_by_function
UPDATE builds SET state = 'cancelled', error = $3, owner = NULL, lease_until = NULL, finished_at = now()
WHERE tenant = $1 AND function_id = $2 AND state IN ('pending', 'compiling');

-- name: forget_old
-- A function's builds that made nothing, but the newest $3 of all.
-- index: builds_by_function
DELETE FROM builds
USING (SELECT tenant, id FROM builds WHERE tenant = $1 AND function_id = $2 ORDER BY id DESC OFFSET $3) AS old
WHERE builds.tenant = old.tenant AND builds.id = old.id AND builds.state IN ('failed', 'cancelled');

-- name: get
-- One build of a scope.
-- index: builds_pkey
SELECT tenant, namespace, id, function_id, function_name, code_version, code_hash, runtime, handler, state, error, attempt,
       is_cached, artifact, log_bytes, log_truncated, created_at, started_at, finished_at
FROM builds
WHERE tenant = $1 AND namespace = $2 AND id = $3;

-- name: list
-- The builds of a function, newest first; $3 is a state or null.
-- index: builds_by_function
SELECT tenant, namespace, id, function_id, function_name, code_version, code_hash, runtime, handler, state, error, attempt,
       is_cached, artifact, log_bytes, log_truncated, created_at, started_at, finished_at
FROM builds
WHERE tenant = $1 AND function_id = $2 AND ($3::text IS NULL OR state = $3)
ORDER BY id DESC
LIMIT $4 OFFSET $5;

-- name: count
-- How many builds `list` has in all.
-- index: builds_by_function
SELECT count(*) FROM builds WHERE tenant = $1 AND function_id = $2 AND ($3::text IS NULL OR state = $3);

-- name: newest
-- The newest build of each of some functions that has one.
-- index: builds_by_function
SELECT DISTINCT ON (function_id)
       tenant, namespace, id, function_id, function_name, code_version, code_hash, runtime, handler, state, error, attempt,
       is_cached, artifact, log_bytes, log_truncated, created_at, started_at, finished_at
FROM builds
WHERE tenant = $1 AND function_id = ANY($2::uuid[])
ORDER BY function_id, id DESC;

-- name: get_function
-- What of a function is deployed and not live.
-- index: functions_tenant_namespace_name_key
SELECT id, runtime, pending_version, pending_hash, pending_handler
FROM functions
WHERE tenant = $1 AND namespace = $2 AND name = $3;

-- name: put_back_silent
-- Puts builds whose worker went silent back in line while they have attempts left.
-- index: builds_leased
UPDATE builds SET state = 'pending', owner = NULL, lease_until = NULL
WHERE state = 'compiling' AND lease_until < now() AND attempt < $1;

-- name: list_spent
-- The builds whose worker went silent in their last attempt.
-- index: builds_leased
SELECT tenant, id, token FROM builds WHERE state = 'compiling' AND lease_until < now() AND attempt >= $1;

-- name: claim
-- Takes up to $3 pending builds for $2 seconds: the oldest of a tenant, and first of the tenant with the fewest in hand.
-- Walks the index from tenant to tenant, so one tenant's long line costs no more than a short one.
-- index: builds_pending
WITH RECURSIVE waiting AS (
    (SELECT tenant FROM builds WHERE state = 'pending' ORDER BY tenant, id LIMIT 1)
    UNION ALL
    SELECT (SELECT tenant FROM builds WHERE state = 'pending' AND tenant > waiting.tenant ORDER BY tenant, id LIMIT 1)
    FROM waiting
    WHERE waiting.tenant IS NOT NULL
),
busy AS (
    SELECT tenant, count(*) AS builds FROM builds WHERE state = 'compiling' GROUP BY tenant
),
taken AS (
    SELECT build.tenant, build.id
    FROM (SELECT waiting.tenant FROM waiting LEFT JOIN busy USING (tenant) WHERE waiting.tenant IS NOT NULL
          ORDER BY coalesce(busy.builds, 0), random()) AS turn
    CROSS JOIN LATERAL (
        SELECT tenant, id FROM builds WHERE state = 'pending' AND tenant = turn.tenant
        ORDER BY id
        LIMIT 1
        FOR UPDATE SKIP LOCKED
    ) AS build
    LIMIT $3
)
UPDATE builds AS held
SET state = 'compiling', owner = $1, token = held.token + 1, attempt = held.attempt + 1,
    lease_until = now() + make_interval(secs => $2), started_at = now()
FROM taken
WHERE held.tenant = taken.tenant AND held.id = taken.id
RETURNING held.tenant, held.namespace, held.id, held.function_id, held.function_name, held.code_version,
          held.code_hash, held.runtime, held.handler, held.state, held.error, held.attempt, held.is_cached,
          held.artifact, held.log_bytes, held.log_truncated, held.created_at, held.started_at, held.finished_at,
          held.token;

-- name: renew
-- Extends the leases of claims that still hold, and says which they are.
-- index: builds_pkey
UPDATE builds AS held SET lease_until = now() + make_interval(secs => $4)
FROM unnest($1::text[], $2::uuid[], $3::bigint[]) AS mine (tenant, id, token)
WHERE held.tenant = mine.tenant AND held.id = mine.id AND held.token = mine.token AND held.state = 'compiling'
RETURNING held.id;

-- name: release
-- Puts a build back in line whose worker stops, its attempt not counted.
-- index: builds_pkey
UPDATE builds SET state = 'pending', owner = NULL, lease_until = NULL, attempt = attempt - 1
WHERE tenant = $1 AND id = $2 AND token = $3 AND state = 'compiling';

-- name: append_log
-- The next part of a build's log, while the claim holds.
-- index: builds_pkey
WITH held AS (
    UPDATE builds
    SET log_bytes = log_bytes + octet_length($4::bytea), log_parts = log_parts + 1,
        log_truncated = log_truncated OR $5::boolean
    WHERE tenant = $1 AND id = $2 AND token = $3 AND state = 'compiling'
    RETURNING tenant, id, log_parts
)
INSERT INTO build_log (tenant, build_id, part, content) SELECT tenant, id, log_parts, $4::bytea FROM held;

-- name: read_log
-- The parts of a build's log after part $3.
-- index: build_log_pkey
SELECT part, content FROM build_log WHERE tenant = $1 AND build_id = $2 AND part > $3 ORDER BY part;

-- name: find_made
-- What an equal build of the tenant made, if it is there still.
-- index: builds_made
SELECT made.artifact
FROM builds AS made
JOIN artifacts ON artifacts.tenant = made.tenant AND artifacts.hash = made.artifact
WHERE made.tenant = $1 AND made.cache_key = $2 AND made.state = 'success'
LIMIT 1;

-- name: end
-- How a build ended, while the claim holds; then says which version of which function it was for.
-- index: builds_pkey
UPDATE builds
SET state = $4, error = $5, cache_key = $6, artifact = $7, is_cached = $8, owner = NULL, lease_until = NULL,
    finished_at = now()
WHERE tenant = $1 AND id = $2 AND token = $3 AND state = 'compiling'
RETURNING function_id, code_version;

-- name: cancel
-- Ends a build that is not over, whoever has it.
-- index: builds_pkey
UPDATE builds
SET state = 'cancelled', error = $4, owner = NULL, lease_until = NULL, finished_at = now()
WHERE tenant = $1 AND namespace = $2 AND id = $3 AND state IN ('pending', 'compiling')
RETURNING tenant, namespace, id, function_id, function_name, code_version, code_hash, runtime, handler, state, error, attempt,
          is_cached, artifact, log_bytes, log_truncated, created_at, started_at, finished_at;

-- name: use_artifact
-- Says what runs instead of a version's sources.
-- index: function_code_pkey
UPDATE function_code SET artifact = $4 WHERE tenant = $1 AND function_id = $2 AND version = $3;

-- name: settle_handler
-- What a build has found the handler of the code that waits for it to be.
-- index: functions_pkey
UPDATE functions SET pending_handler = $4 WHERE tenant = $1 AND id = $2 AND pending_version = $3;

-- name: go_live
-- Puts the code that waited for its build live, unless newer code waits by now.
-- index: functions_pkey
UPDATE functions
SET handler = pending_handler, code_version = pending_version, code_hash = pending_hash, pending_version = NULL,
    pending_hash = NULL, pending_handler = NULL, pending_error = NULL, version = version + 1, updated_at = now()
WHERE tenant = $1 AND id = $2 AND pending_version = $3;

-- name: state_error
-- Why the code that waits will not go live, or ($4 null) that it may yet.
-- index: functions_pkey
UPDATE functions SET pending_error = $4, version = version + 1, updated_at = now()
WHERE tenant = $1 AND id = $2 AND pending_version = $3;
