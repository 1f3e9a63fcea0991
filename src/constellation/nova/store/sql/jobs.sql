-- name: insert
-- Accepts jobs; one row of the arrays each. Delays are seconds from now.
INSERT INTO jobs (tenant, namespace, id, function_name, payload, subject, source, max_attempts, backoff_base_s,
                  backoff_max_s, run_at, call_depth, call_chain, is_durable, qualifier)
SELECT job.tenant, job.namespace, job.id, job.function_name, job.payload, job.subject, job.source, job.max_attempts,
       job.backoff_base_s, job.backoff_max_s, now() + make_interval(secs => job.delay_s), job.call_depth,
       string_to_array(job.call_chain, ','), job.is_durable, job.qualifier
FROM unnest($1::text[], $2::text[], $3::uuid[], $4::text[], $5::bytea[], $6::text[], $7::text[], $8::integer[],
            $9::double precision[], $10::double precision[], $11::double precision[], $12::integer[], $13::text[],
            $14::boolean[], $15::text[])
     AS job (tenant, namespace, id, function_name, payload, subject, source, max_attempts, backoff_base_s,
             backoff_max_s, delay_s, call_depth, call_chain, is_durable, qualifier)
RETURNING id, run_at, created_at;

-- name: take_key
-- Binds an idempotency key to a job, or takes over an expired one; no row when it is bound to another job.
-- The row is locked either way until the transaction ends.
-- index: job_keys_pkey
INSERT INTO job_keys AS held (tenant, namespace, function_name, key, job_id, expires_at)
VALUES ($1, $2, $3, $4, $5, now() + make_interval(secs => $6))
ON CONFLICT (tenant, namespace, function_name, key) DO UPDATE
    SET job_id = excluded.job_id, expires_at = excluded.expires_at
    WHERE held.expires_at <= now()
RETURNING job_id;

-- name: get_key
-- The job that an idempotency key is bound to.
-- index: job_keys_pkey
SELECT job_id FROM job_keys WHERE tenant = $1 AND namespace = $2 AND function_name = $3 AND key = $4;

-- name: rebind_key
-- Binds a key whose job is gone to another job.
-- index: job_keys_pkey
UPDATE job_keys SET job_id = $5, expires_at = now() + make_interval(secs => $6)
WHERE tenant = $1 AND namespace = $2 AND function_name = $3 AND key = $4;

-- name: forget_keys
-- Deletes up to $1 keys that expired.
-- index: job_keys_expired
DELETE FROM job_keys
USING (SELECT tenant, namespace, function_name, key FROM job_keys WHERE expires_at < now()
       ORDER BY expires_at LIMIT $1) AS expired
WHERE (job_keys.tenant, job_keys.namespace, job_keys.function_name, job_keys.key)
    = (expired.tenant, expired.namespace, expired.function_name, expired.key);

-- name: expire_leases
-- Puts up to $1 jobs whose worker went silent back in line, or buries those that used their attempts up; returns of these
-- what goes somewhere.
-- index: jobs_leased
-- index: functions_tenant_namespace_name_key
WITH expired AS (
    UPDATE jobs AS held
    SET status = CASE WHEN held.attempt < held.max_attempts THEN queued_or_paused(held.tenant, held.subscription_id) ELSE 'dead' END,
        run_at = now(), owner = NULL, lease_until = NULL,
        error = CASE WHEN held.attempt < held.max_attempts THEN held.error ELSE $2::bytea END,
        finished_at = CASE WHEN held.attempt < held.max_attempts THEN NULL ELSE now() END
    FROM (SELECT tenant, id FROM jobs WHERE status = 'running' AND lease_until < now()
          ORDER BY lease_until LIMIT $1 FOR UPDATE SKIP LOCKED) AS silent
    WHERE held.tenant = silent.tenant AND held.id = silent.id
    RETURNING held.*
)
SELECT dead.tenant, dead.namespace, dead.id, dead.function_name, dead.payload, dead.status, dead.subject, dead.source,
       dead.attempt, dead.max_attempts, dead.backoff_base_s, dead.backoff_max_s, dead.run_at, dead.request_id, dead.error,
       dead.duration_ms, dead.started_at, dead.finished_at, dead.created_at, dead.call_depth, dead.call_chain,
       dead.is_durable, dead.qualifier, dead.destination
FROM (
    SELECT expired.*,
           CASE WHEN expired.qualifier ~ '^[0-9]{1,9}$'
                THEN version_destination(f.tenant, f.id, expired.qualifier::integer, f.on_failure, 'on_failure')
                ELSE f.on_failure END AS destination
    FROM expired
    JOIN functions AS f ON f.tenant = expired.tenant AND f.namespace = expired.namespace AND f.name = expired.function_name
    WHERE expired.status = 'dead'
) AS dead
WHERE dead.destination <> '';

-- name: claim
-- Takes up to $3 due jobs for $2 seconds. Every tenant with due jobs gets an equal share of the batch, filled from
-- one of its functions drawn by lot; what is left goes to their other functions. $4 bounds how many are looked at.
-- index: jobs_queued
WITH due AS (
    SELECT tenant, namespace, function_name, row_number() OVER (PARTITION BY tenant ORDER BY random()) AS turn
    FROM queue_heads($4)
    WHERE run_at <= now()
),
share AS (
    SELECT greatest(1, ceil($3::double precision / greatest(1, count(DISTINCT tenant))))::bigint AS size FROM due
),
taken AS (
    SELECT job.tenant, job.id
    FROM (SELECT tenant, namespace, function_name FROM due ORDER BY turn, random()) AS turn
    CROSS JOIN LATERAL (
        SELECT tenant, id
        FROM jobs
        WHERE status = 'queued' AND tenant = turn.tenant AND namespace = turn.namespace
          AND function_name = turn.function_name AND run_at <= now()
        ORDER BY run_at
        LIMIT (SELECT size FROM share)
        FOR UPDATE SKIP LOCKED
    ) AS job
    LIMIT $3
)
UPDATE jobs AS held
SET status = 'running', owner = $1, token = held.token + 1, attempt = held.attempt + 1,
    lease_until = now() + make_interval(secs => $2), started_at = now()
FROM taken
WHERE held.tenant = taken.tenant AND held.id = taken.id
RETURNING held.tenant, held.namespace, held.id, held.function_name, held.payload, held.status, held.subject,
          held.source, held.attempt, held.max_attempts, held.backoff_base_s, held.backoff_max_s, held.run_at,
          held.request_id, held.error, held.duration_ms, held.started_at, held.finished_at, held.created_at,
          held.call_depth, held.call_chain, held.is_durable, held.qualifier, held.token;

-- name: renew
-- Extends the leases of claims that still hold, and says which they are.
-- index: jobs_pkey
UPDATE jobs AS held SET lease_until = now() + make_interval(secs => $4)
FROM unnest($1::text[], $2::uuid[], $3::bigint[]) AS mine (tenant, id, token)
WHERE held.tenant = mine.tenant AND held.id = mine.id AND held.token = mine.token AND held.status = 'running'
RETURNING held.id;

-- name: complete
-- Moves jobs that succeeded to jobs_done, and says where the results go; those whose claim was lost stay as they are. $7
-- is which version ran, null for one that is not known.
-- index: jobs_pkey
-- index: functions_tenant_namespace_name_key
WITH result AS (
    SELECT tenant, id, token, request_id, output, duration_ms, version
    FROM unnest($1::text[], $2::uuid[], $3::bigint[], $4::uuid[], $5::bytea[], $6::double precision[], $7::integer[])
         AS given (tenant, id, token, request_id, output, duration_ms, version)
),
gone AS (
    DELETE FROM jobs AS held
    USING result
    WHERE held.tenant = result.tenant AND held.id = result.id AND held.token = result.token
      AND held.status = 'running'
    RETURNING held.tenant, held.namespace, held.id, held.function_name, held.payload, held.subject, held.source,
              held.attempt, held.max_attempts, held.backoff_base_s, held.backoff_max_s, result.request_id,
              result.output, result.duration_ms, held.started_at, held.call_depth, held.call_chain, held.created_at,
              held.is_durable, held.qualifier, held.subscription_id, held.message_id, result.version
),
kept AS (
    INSERT INTO jobs_done (tenant, namespace, id, function_name, payload, subject, source, attempt, max_attempts,
                           backoff_base_s, backoff_max_s, request_id, output, duration_ms, started_at, finished_at,
                           call_depth, call_chain, created_at, is_durable, qualifier, subscription_id, message_id)
    SELECT tenant, namespace, id, function_name, payload, subject, source, attempt, max_attempts, backoff_base_s,
           backoff_max_s, request_id, output, duration_ms, started_at, now(), call_depth, call_chain, created_at, is_durable,
           qualifier, subscription_id, message_id
    FROM gone
)
SELECT gone.id, now() AS finished_at,
       CASE WHEN coalesce(gone.version, f.live_version) = f.live_version THEN f.on_success
            ELSE version_destination(f.tenant, f.id, gone.version, f.on_success, 'on_success') END AS destination
FROM gone
LEFT JOIN functions AS f ON f.tenant = gone.tenant AND f.namespace = gone.namespace AND f.name = gone.function_name;

-- name: fail
-- Puts jobs that failed back in line after a delay, or buries them: without a delay, or when their attempts are
-- used up; says where what was buried goes. Those whose claim was lost stay as they are.
-- index: jobs_pkey
-- index: functions_tenant_namespace_name_key
WITH failed AS (
    UPDATE jobs AS held
    SET status = CASE WHEN result.delay_s IS NULL OR held.attempt >= held.max_attempts THEN 'dead'
                      ELSE queued_or_paused(held.tenant, held.subscription_id) END,
        run_at = CASE WHEN result.delay_s IS NULL OR held.attempt >= held.max_attempts THEN held.run_at
                      ELSE now() + make_interval(secs => result.delay_s) END,
        owner = NULL, lease_until = NULL, request_id = result.request_id, error = result.error,
        duration_ms = result.duration_ms,
        finished_at = CASE WHEN result.delay_s IS NULL OR held.attempt >= held.max_attempts THEN now() END
    FROM unnest($1::text[], $2::uuid[], $3::bigint[], $4::uuid[], $5::bytea[], $6::double precision[],
                $7::double precision[], $8::integer[])
         AS result (tenant, id, token, request_id, error, duration_ms, delay_s, version)
    WHERE held.tenant = result.tenant AND held.id = result.id AND held.token = result.token AND held.status = 'running'
    RETURNING held.tenant, held.namespace, held.id, held.function_name, held.status, held.finished_at, result.version
)
SELECT failed.id, failed.finished_at,
       CASE WHEN failed.status <> 'dead' THEN ''
            WHEN coalesce(failed.version, f.live_version) = f.live_version THEN f.on_failure
            ELSE version_destination(f.tenant, f.id, failed.version, f.on_failure, 'on_failure') END AS destination
FROM failed
LEFT JOIN functions AS f ON f.tenant = failed.tenant AND f.namespace = failed.namespace AND f.name = failed.function_name;

-- name: release
-- Puts jobs that were never started back in line as if they had not been claimed.
-- index: jobs_pkey
UPDATE jobs AS held
SET status = queued_or_paused(held.tenant, held.subscription_id), attempt = held.attempt - 1, run_at = now() + make_interval(secs => $4), owner = NULL,
    lease_until = NULL
FROM unnest($1::text[], $2::uuid[], $3::bigint[]) AS mine (tenant, id, token)
WHERE held.tenant = mine.tenant AND held.id = mine.id AND held.token = mine.token AND held.status = 'running'
RETURNING held.id;

-- name: get_live
-- One job that has not succeeded.
-- index: jobs_pkey
SELECT tenant, namespace, id, function_name, payload, status, subject, source, attempt, max_attempts, backoff_base_s,
       backoff_max_s, run_at, request_id, NULL::bytea AS output, error, duration_ms, started_at, finished_at,
       created_at, call_depth, call_chain, is_durable, qualifier
FROM jobs
WHERE tenant = $1 AND id = $3 AND namespace = $2;

-- name: get_done
-- One job that succeeded.
-- index: jobs_done_pkey
SELECT tenant, namespace, id, function_name, payload, 'succeeded' AS status, subject, source, attempt, max_attempts,
       backoff_base_s, backoff_max_s, created_at AS run_at, request_id, output, NULL::bytea AS error, duration_ms,
       started_at, finished_at, created_at, call_depth, call_chain, is_durable, qualifier
FROM jobs_done
WHERE tenant = $1 AND id = $3 AND namespace = $2;

-- name: list
-- Jobs of a scope, newest first; $3 is a function or null, $4 a status of a live job, 'succeeded', or null; $7 says
-- which of the two kinds.
-- index: jobs_by_function
(SELECT tenant, namespace, id, function_name, payload, status, subject, source, attempt, max_attempts,
        backoff_base_s, backoff_max_s, run_at, request_id, NULL::bytea AS output, error, duration_ms, started_at,
        finished_at, created_at, call_depth, call_chain, is_durable, qualifier
 FROM jobs
 WHERE tenant = $1 AND namespace = $2 AND is_durable = $7 AND ($3::text IS NULL OR function_name = $3)
   AND ($4::text IS NULL OR status = $4)
   AND ($8::timestamptz IS NULL OR created_at >= $8 AND id >= uuid7_floor(greatest($8 - interval '1 minute', 'epoch')))
   AND ($9::timestamptz IS NULL OR created_at < $9)
 ORDER BY id DESC
 LIMIT $5::bigint + $6::bigint)
UNION ALL
(SELECT tenant, namespace, id, function_name, payload, 'succeeded', subject, source, attempt, max_attempts,
        backoff_base_s, backoff_max_s, created_at, request_id, output, NULL::bytea, duration_ms, started_at,
        finished_at, created_at, call_depth, call_chain, is_durable, qualifier
 FROM jobs_done
 WHERE tenant = $1 AND namespace = $2 AND is_durable = $7 AND ($3::text IS NULL OR function_name = $3)
   AND ($4::text IS NULL OR $4 = 'succeeded')
   AND ($8::timestamptz IS NULL OR created_at >= $8 AND id >= uuid7_floor(greatest($8 - interval '1 minute', 'epoch')))
   AND ($9::timestamptz IS NULL OR created_at < $9)
 ORDER BY id DESC
 LIMIT $5::bigint + $6::bigint)
ORDER BY id DESC
LIMIT $5 OFFSET $6;

-- name: count
-- How many jobs `list` has in all, counted up to $5; $6 says which kind, $7 and $8 are the instants.
-- index: jobs_by_function
SELECT count(*)
FROM (
    (SELECT FROM jobs
     WHERE tenant = $1 AND namespace = $2 AND is_durable = $6 AND ($3::text IS NULL OR function_name = $3)
       AND ($4::text IS NULL OR status = $4)
     AND ($7::timestamptz IS NULL OR created_at >= $7 AND id >= uuid7_floor(greatest($7 - interval '1 minute', 'epoch')))
     AND ($8::timestamptz IS NULL OR created_at < $8)
     LIMIT $5)
    UNION ALL
    (SELECT FROM jobs_done
     WHERE tenant = $1 AND namespace = $2 AND is_durable = $6 AND ($3::text IS NULL OR function_name = $3)
       AND ($4::text IS NULL OR $4 = 'succeeded')
     AND ($7::timestamptz IS NULL OR created_at >= $7 AND id >= uuid7_floor(greatest($7 - interval '1 minute', 'epoch')))
     AND ($8::timestamptz IS NULL OR created_at < $8)
     LIMIT $5)
    LIMIT $5
) AS counted;

-- name: lose_result
-- Tells that a result reached nobody: of which function's job, and why.
SELECT notice_of_lost_result($1, $2, $3, $4);

-- name: retry
-- Puts a dead job back in line with all its attempts; $4 sets how many, $5 what version it runs on, null leaves them.
-- index: jobs_pkey or jobs_dead
UPDATE jobs
SET status = 'queued', attempt = 0, max_attempts = coalesce($4, max_attempts), qualifier = coalesce($5, qualifier),
    run_at = now(), finished_at = NULL
WHERE tenant = $1 AND id = $3 AND namespace = $2 AND status = 'dead'
RETURNING tenant, namespace, id, function_name, payload, status, subject, source, attempt, max_attempts,
          backoff_base_s, backoff_max_s, run_at, request_id, NULL::bytea AS output, error, duration_ms, started_at,
          finished_at, created_at, call_depth, call_chain, is_durable, qualifier;

-- name: redrive
-- Puts up to $4 dead jobs of a scope, of one function or ($3 null) of all, back in line with all their attempts.
-- index: jobs_dead
UPDATE jobs AS held
SET status = queued_or_paused(held.tenant, held.subscription_id), attempt = 0, run_at = now(), finished_at = NULL
FROM (SELECT tenant, id FROM jobs
      WHERE status = 'dead' AND NOT is_durable AND tenant = $1 AND namespace = $2 AND ($3::text IS NULL OR function_name = $3)
      ORDER BY id LIMIT $4 FOR UPDATE SKIP LOCKED) AS dead
WHERE held.tenant = dead.tenant AND held.id = dead.id;

-- name: purge
-- Forgets up to $4 dead jobs of a scope, of one function or ($3 null) of all.
-- index: jobs_dead
DELETE FROM jobs AS held
USING (SELECT tenant, id FROM jobs
       WHERE status = 'dead' AND NOT is_durable AND tenant = $1 AND namespace = $2 AND ($3::text IS NULL OR function_name = $3)
       ORDER BY id LIMIT $4 FOR UPDATE SKIP LOCKED) AS dead
WHERE held.tenant = dead.tenant AND held.id = dead.id;

-- name: pause
-- Takes a queued job out of line.
-- index: jobs_pkey
UPDATE jobs SET status = 'paused'
WHERE tenant = $1 AND id = $3 AND namespace = $2 AND status = 'queued' AND NOT is_durable
RETURNING tenant, namespace, id, function_name, payload, status, subject, source, attempt, max_attempts,
          backoff_base_s, backoff_max_s, run_at, request_id, NULL::bytea AS output, error, duration_ms, started_at,
          finished_at, created_at, call_depth, call_chain, is_durable, qualifier;

-- name: resume
-- Puts a paused job back in line, where it was.
-- index: jobs_pkey
UPDATE jobs SET status = 'queued'
WHERE tenant = $1 AND id = $3 AND namespace = $2 AND status = 'paused' AND NOT is_durable
RETURNING tenant, namespace, id, function_name, payload, status, subject, source, attempt, max_attempts,
          backoff_base_s, backoff_max_s, run_at, request_id, NULL::bytea AS output, error, duration_ms, started_at,
          finished_at, created_at, call_depth, call_chain, is_durable, qualifier;

-- name: pause_queue
-- Lets nothing of a function, or with an empty name of a namespace, be claimed any more.
-- index: job_pauses_pkey
INSERT INTO job_pauses (tenant, namespace, function_name) VALUES ($1, $2, $3)
ON CONFLICT (tenant, namespace, function_name) DO NOTHING;

-- name: resume_queue
-- Lets it be claimed again.
-- index: job_pauses_pkey
DELETE FROM job_pauses WHERE tenant = $1 AND namespace = $2 AND function_name = $3;

-- name: pauses
-- Which queues of a scope stand still: names of functions, and the empty one for all; $3 is one function or null.
-- index: job_pauses_pkey
SELECT function_name, since FROM job_pauses
WHERE tenant = $1 AND namespace = $2 AND ($3::text IS NULL OR function_name IN ('', $3))
ORDER BY function_name
LIMIT $4;

-- name: summary
-- How many jobs of a scope, of one function or ($3 null) of all, stand in each live status, and since when the oldest
-- that is due waits.
-- index: jobs_by_function
SELECT status, count(*) AS count, min(run_at) FILTER (WHERE status = 'queued' AND run_at <= now()) AS oldest_due_at
FROM jobs
WHERE tenant = $1 AND namespace = $2 AND ($3::text IS NULL OR function_name = $3) AND NOT is_durable
GROUP BY status;

-- name: recently_done
-- How many jobs succeeded in the last minute and in the last five; their ids are not much older.
-- index: jobs_done_by_function
SELECT count(*) FILTER (WHERE finished_at > now() - interval '1 minute') AS in_1m, count(*) AS in_5m
FROM (SELECT finished_at FROM jobs_done
      WHERE tenant = $1 AND namespace = $2 AND ($3::text IS NULL OR function_name = $3)
        AND finished_at > now() - interval '5 minutes' AND NOT is_durable
        AND id >= uuid7_floor(now() - interval '1 day')) AS done;

-- name: delete
-- A job that nobody is running.
-- index: jobs_pkey
DELETE FROM jobs WHERE tenant = $1 AND id = $3 AND namespace = $2 AND status <> 'running';

-- name: seconds_to_next
-- Seconds until the earliest job can be claimed, negative when it is late; null when there is none. Only where a queue
-- stands still are the functions walked, $1 of them at most.
-- index: tenants_suspended
-- index: jobs_due
-- index: jobs_leased
SELECT least(
    CASE WHEN EXISTS (SELECT FROM job_pauses) OR EXISTS (SELECT FROM tenants WHERE status = 'suspended')
        THEN (SELECT extract(epoch FROM min(run_at) - now()) FROM queue_heads($1))
        ELSE (SELECT extract(epoch FROM run_at - now()) FROM jobs WHERE status = 'queued' ORDER BY run_at LIMIT 1)
    END,
    (SELECT extract(epoch FROM lease_until - now()) FROM jobs WHERE status = 'running' ORDER BY lease_until LIMIT 1)
)::double precision;

-- name: totals
-- How many jobs stand in each live status, over all tenants.
SELECT status, count(*) AS count FROM jobs GROUP BY status;
