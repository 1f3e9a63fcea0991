-- name: hold
-- Is this run still the one that may write? It counts as a first attempt from here on, since it gets on. Locks the job.
-- index: jobs_pkey
UPDATE jobs SET attempt = 1
WHERE tenant = $1 AND id = $2 AND token = $3 AND is_durable AND status = 'running'
RETURNING id;

-- name: recorded
-- How many steps are on record.
-- index: execution_steps_pkey
SELECT count(*) FROM execution_steps WHERE tenant = $1 AND execution_id = $2;

-- name: get
-- One step, and whether its time is up.
-- index: execution_steps_pkey
SELECT seq, kind, name, due_at, output, error, started_at, finished_at, due_at <= now() AS is_due
FROM execution_steps
WHERE tenant = $1 AND execution_id = $2 AND seq = $3;

-- name: list
-- The steps of an execution in order.
-- index: execution_steps_pkey
SELECT seq, kind, name, due_at, output, error, started_at, finished_at, due_at <= now() AS is_due
FROM execution_steps
WHERE tenant = $1 AND execution_id = $2
ORDER BY seq
LIMIT $3 OFFSET $4;

-- name: record
-- What a step that ran came to; $7 is how long it ran, in seconds.
INSERT INTO execution_steps (tenant, execution_id, seq, kind, name, output, error, started_at, finished_at)
VALUES ($1, $2, $3, 'run', $4, $5, $6, now() - make_interval(secs => $7), now());

-- name: wait
-- A step that waits for a time, or for an event until then.
INSERT INTO execution_steps (tenant, execution_id, seq, kind, name, due_at)
VALUES ($1, $2, $3, $4, $5, now() + make_interval(secs => $6));

-- name: finish
-- A wait that is over.
-- index: execution_steps_pkey
UPDATE execution_steps SET output = $4, error = $5, finished_at = now()
WHERE tenant = $1 AND execution_id = $2 AND seq = $3 AND finished_at IS NULL;

-- name: take_event
-- The oldest event of a name that no step has taken.
-- index: execution_events_pkey
DELETE FROM execution_events
WHERE tenant = $1 AND execution_id = $2
  AND id = (SELECT id FROM execution_events WHERE tenant = $1 AND execution_id = $2 AND name = $3 ORDER BY id LIMIT 1)
RETURNING payload;

-- name: lock
-- An execution that is not over, so that nothing about it changes until the transaction ends.
-- index: jobs_pkey
SELECT status FROM jobs
WHERE tenant = $1 AND namespace = $2 AND id = $3 AND is_durable AND status NOT IN ('dead', 'cancelled')
FOR UPDATE;

-- name: add_event
-- An event, unless $6 of them wait already.
-- index: execution_events_pkey
INSERT INTO execution_events (tenant, execution_id, id, name, payload)
SELECT $1, $2, $3, $4, $5
WHERE (SELECT count(*) FROM execution_events WHERE tenant = $1 AND execution_id = $2) < $6
RETURNING id;

-- name: wake
-- An execution that waits runs now, if it waits for an event of this name.
-- index: jobs_pkey
UPDATE jobs SET run_at = now()
WHERE tenant = $1 AND id = $2 AND status = 'queued' AND run_at > now()
  AND EXISTS (SELECT FROM execution_steps
              WHERE tenant = $1 AND execution_id = $2 AND kind = 'event' AND name = $3 AND finished_at IS NULL)
RETURNING id;

-- name: cancel
-- An execution that is not over is never run again; who runs it can write nothing any more.
-- index: jobs_pkey
UPDATE jobs
SET status = 'cancelled', owner = NULL, lease_until = NULL, token = token + 1, error = $4, finished_at = now()
WHERE tenant = $1 AND namespace = $2 AND id = $3 AND is_durable AND status NOT IN ('dead', 'cancelled')
RETURNING tenant, namespace, id, function_name, payload, status, subject, source, attempt, max_attempts,
          backoff_base_s, backoff_max_s, run_at, request_id, NULL::bytea AS output, error, duration_ms, started_at,
          finished_at, created_at, call_depth, call_chain, is_durable, qualifier;

-- name: lock_runs
-- The runs of claims that still hold.
-- index: jobs_pkey
SELECT held.tenant, held.id
FROM jobs AS held
JOIN unnest($1::text[], $2::uuid[], $3::bigint[]) AS mine (tenant, id, token)
  ON held.tenant = mine.tenant AND held.id = mine.id AND held.token = mine.token
WHERE held.status = 'running'
ORDER BY held.tenant, held.id
FOR UPDATE OF held;

-- name: suspend
-- Puts executions aside until what they wait for can have come: a time, or an event that is there already.
-- index: jobs_pkey
UPDATE jobs AS held
SET status = 'queued', attempt = 0, owner = NULL, lease_until = NULL, error = NULL,
    run_at = coalesce(
        (SELECT now() FROM execution_steps AS step
         JOIN execution_events AS event USING (tenant, execution_id, name)
         WHERE step.tenant = held.tenant AND step.execution_id = held.id AND step.kind = 'event'
           AND step.finished_at IS NULL
         LIMIT 1),
        (SELECT min(step.due_at) FROM execution_steps AS step
         WHERE step.tenant = held.tenant AND step.execution_id = held.id AND step.finished_at IS NULL),
        now())
FROM unnest($1::text[], $2::uuid[], $3::bigint[]) AS mine (tenant, id, token)
WHERE held.tenant = mine.tenant AND held.id = mine.id AND held.token = mine.token AND held.status = 'running'
RETURNING held.id;
