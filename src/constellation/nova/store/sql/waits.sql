-- name: waiting
-- Steps of executions that wait for a message of a topic: with one of some keys, or with any.
-- index: execution_steps_waiting
SELECT execution_id, seq, message_key, filter
FROM execution_steps
WHERE tenant = $1 AND topic_id = $2 AND finished_at IS NULL AND (message_key IS NULL OR message_key = ANY ($3::text[]))
ORDER BY execution_id;

-- name: lock_jobs
-- Those of some executions that are not over; in their order, so that two can not hold them crosswise.
-- index: jobs_pkey
SELECT id FROM jobs
WHERE tenant = $1 AND id = ANY ($2::uuid[]) AND status NOT IN ('dead', 'cancelled')
ORDER BY id
FOR UPDATE;

-- name: answer
-- The messages that some steps waited for; one that has ended meanwhile stays as it is.
-- index: execution_steps_pkey
UPDATE execution_steps AS step SET output = given.output, finished_at = now()
FROM unnest($2::uuid[], $3::integer[], $4::bytea[]) AS given (execution_id, seq, output)
WHERE step.tenant = $1 AND step.execution_id = given.execution_id AND step.seq = given.seq AND step.finished_at IS NULL
RETURNING step.execution_id;

-- name: wake
-- Executions that wait run now; those that run find their message when they ask for it.
-- index: jobs_pkey
UPDATE jobs SET run_at = now() WHERE tenant = $1 AND id = ANY ($2::uuid[]) AND status = 'queued' AND run_at > now();

-- name: release
-- Steps of executions that are over are not looked at again; one that is tried again asks anew.
-- index: execution_steps_pkey
UPDATE execution_steps SET topic_id = NULL
WHERE tenant = $1 AND execution_id = ANY ($2::uuid[]) AND finished_at IS NULL;

-- name: count
-- How many steps wait for any message of a topic, counted up to $3.
-- index: execution_steps_waiting
SELECT count(*)
FROM (SELECT FROM execution_steps
      WHERE tenant = $1 AND topic_id = $2 AND finished_at IS NULL AND message_key IS NULL LIMIT $3) AS counted;

-- name: wait
-- A step that waits for a message, $6 seconds at most; one that waits already is asked for anew.
-- index: execution_steps_pkey
INSERT INTO execution_steps AS step (tenant, execution_id, seq, kind, name, due_at, topic_id, message_key, filter)
VALUES ($1, $2, $3, $4, $5, now() + make_interval(secs => $6), $7, $8, $9)
ON CONFLICT (tenant, execution_id, seq) DO UPDATE SET topic_id = excluded.topic_id;

-- name: since
-- What an execution did before a step, or that it began: what came after that is the step's. What ran just before it may be
-- what the message answers, so the step before that one counts: nothing answers a step that only waited.
-- index: execution_steps_pkey
-- index: jobs_pkey
SELECT job.created_at, step.finished_at, CASE WHEN step.kind = 'message' THEN step.output END AS output
FROM jobs AS job
LEFT JOIN execution_steps AS last ON last.tenant = job.tenant AND last.execution_id = job.id AND last.seq = $3 - 1
LEFT JOIN execution_steps AS step ON step.tenant = job.tenant AND step.execution_id = job.id
    AND step.seq = $3 - CASE WHEN last.kind = 'run' THEN 2 ELSE 1 END
WHERE job.tenant = $1 AND job.id = $2;

-- name: missed
-- Up to $7 messages of a topic behind the id $6, that were published after an instant, or at it behind the id $4, the oldest
-- first; $5 is a key or null.
-- index: messages_by_topic
SELECT id, key, payload, attributes, publisher, call_depth, call_chain, published_at
FROM messages
WHERE tenant = $1 AND topic_id = $2 AND id > $6 AND id >= uuid7_floor($3::timestamptz - interval '1 hour')
  AND (published_at, id) > ($3::timestamptz, $4::uuid) AND ($5::text IS NULL OR key = $5)
ORDER BY id
LIMIT $7;
