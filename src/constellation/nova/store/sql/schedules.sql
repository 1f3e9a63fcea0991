-- name: insert
-- A new schedule.
INSERT INTO schedules (tenant, namespace, id, function_name, cron, time_zone, input, enabled, next_run_at,
                       qualifier)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
RETURNING tenant, namespace, id, function_name, cron, time_zone, input, enabled, next_run_at, last_run_at,
          last_job_id, qualifier, version, created_at;

-- name: get
-- One schedule of a scope.
-- index: schedules_pkey
SELECT tenant, namespace, id, function_name, cron, time_zone, input, enabled, next_run_at, last_run_at,
       last_job_id, qualifier, version, created_at
FROM schedules
WHERE tenant = $1 AND id = $3 AND namespace = $2;

-- name: list
-- The schedules of a scope, by function and age; $3 is a function or null.
-- index: schedules_by_function
SELECT tenant, namespace, id, function_name, cron, time_zone, input, enabled, next_run_at, last_run_at,
       last_job_id, qualifier, version, created_at
FROM schedules
WHERE tenant = $1 AND namespace = $2 AND ($3::text IS NULL OR function_name = $3)
ORDER BY function_name, id
LIMIT $4 OFFSET $5;

-- name: count
-- How many schedules `list` has in all.
-- index: schedules_by_function
SELECT count(*) FROM schedules WHERE tenant = $1 AND namespace = $2 AND ($3::text IS NULL OR function_name = $3);

-- name: update
-- A schedule that is still at row version $9; a claim that is under way loses its token, so it can not write
-- a next run that follows from the old rule.
-- index: schedules_pkey
UPDATE schedules
SET cron = $4, time_zone = $5, input = $6, enabled = $7, next_run_at = $8, qualifier = $10, owner = NULL,
    lease_until = NULL, token = token + 1, version = version + 1, updated_at = now()
WHERE tenant = $1 AND id = $3 AND namespace = $2 AND version = $9
RETURNING tenant, namespace, id, function_name, cron, time_zone, input, enabled, next_run_at, last_run_at,
          last_job_id, qualifier, version, created_at;

-- name: delete
-- A schedule.
-- index: schedules_pkey
DELETE FROM schedules WHERE tenant = $1 AND id = $3 AND namespace = $2;

-- name: claim
-- Takes up to $3 schedules that are due and that nobody holds, for $2 seconds; of suspended tenants none.
-- index: schedules_due
WITH due AS (
    SELECT tenant, id
    FROM schedules
    WHERE enabled AND next_run_at <= now() AND (lease_until IS NULL OR lease_until < now())
      AND NOT EXISTS (SELECT FROM tenants WHERE tenants.id = schedules.tenant AND tenants.status = 'suspended')
    ORDER BY next_run_at
    LIMIT $3
    FOR UPDATE SKIP LOCKED
)
UPDATE schedules AS held
SET owner = $1, token = held.token + 1, lease_until = now() + make_interval(secs => $2)
FROM due
WHERE held.tenant = due.tenant AND held.id = due.id
RETURNING held.tenant, held.namespace, held.id, held.function_name, held.cron, held.time_zone, held.input,
          held.enabled, held.next_run_at, held.last_run_at, held.last_job_id, held.qualifier, held.version,
          held.created_at, held.token;

-- name: renew
-- Extends the lease of a claim that still holds.
-- index: schedules_pkey
UPDATE schedules SET lease_until = now() + make_interval(secs => $4)
WHERE tenant = $1 AND id = $2 AND token = $3 AND owner IS NOT NULL;

-- name: finish
-- Records a run and plans the next; nothing when the claim was lost.
-- index: schedules_pkey
UPDATE schedules
SET next_run_at = $4, last_run_at = $5, last_job_id = $6, owner = NULL, lease_until = NULL
WHERE tenant = $1 AND id = $2 AND token = $3 AND owner IS NOT NULL;

-- name: seconds_to_next
-- Seconds until the earliest schedule can be claimed, negative when it is late; null when there is none.
-- index: schedules_due
-- index: schedules_leased
SELECT extract(epoch FROM least(
    (SELECT next_run_at
     FROM schedules
     WHERE enabled AND next_run_at IS NOT NULL AND (lease_until IS NULL OR lease_until <= now())
       AND NOT EXISTS (SELECT FROM tenants WHERE tenants.id = schedules.tenant AND tenants.status = 'suspended')
     ORDER BY next_run_at
     LIMIT 1),
    (SELECT min(greatest(next_run_at, lease_until))
     FROM schedules
     WHERE enabled AND next_run_at IS NOT NULL AND lease_until > now()
       AND NOT EXISTS (SELECT FROM tenants WHERE tenants.id = schedules.tenant AND tenants.status = 'suspended'))
) - now())::double precision;
