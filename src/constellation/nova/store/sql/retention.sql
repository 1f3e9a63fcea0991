-- name: keep_partitions
-- Makes the day partitions of a table for $2 days ahead and drops those older than $3 days.
SELECT keep_partitions($1, $2, $3);

-- name: forget_changes
-- Forgets changes older than $1 days, but never the newest.
SELECT forget_changes($1);

-- name: forget_logs
-- Forgets up to $1 rows of the log that their functions keep no longer; returns how many.
SELECT forget_logs($1);

-- name: forget_artifacts
-- Forgets what builds made and no code uses, unless it was used within $1 seconds.
SELECT forget_artifacts(make_interval(secs => $1));

-- name: forget_state
-- Forgets up to $1 keys of stores whose time is up; says how many.
SELECT forget_state($1);

-- name: forget_steps
-- Forgets the steps and events of executions that are not there any more.
SELECT forget_steps();

-- name: forget_messages
-- Forgets up to $1 messages that their topics keep no longer; says how many.
SELECT forget_messages($1);

-- name: forget_message_keys
-- Forgets up to $1 idempotency keys of publishers whose time is up; says how many.
SELECT forget_message_keys($1);

-- name: forget_audit
-- Forgets up to $2 rows of the audit older than $1 days; says how many.
SELECT forget_audit($1, $2);

-- name: forget_usage
-- Forgets up to $2 days of tenants' calls that are more than $1 days ago; says how many.
SELECT forget_usage($1, $2);

-- name: forget_notifications
-- Forgets up to $2 notifications of which nothing was heard for $1 days; says how many.
SELECT forget_notifications($1, $2);

-- name: forget_database_requests
-- Forgets up to $2 rows of the logs of databases older than $1 days; says how many.
SELECT forget_database_requests($1, $2);
