-- name: lock_shared
-- Held to the end of its transaction by each who publishes to a topic: its subscriptions are what they were.
SELECT pg_advisory_xact_lock_shared(hashtextextended('topic/' || $1::text || '/' || $2::text || '/' || $3::text, 0));

-- name: subscriptions_of
-- The subscriptions of a topic that get its messages, at most as many as a topic may have.
-- index: subscriptions_by_topic or subscriptions_tenant_namespace_name_key
SELECT tenant, namespace, id, name, topic_name, function_name, filter, enabled, is_paused, max_attempts,
       backoff_base_s, backoff_max_s, qualifier, version, created_at, updated_at
FROM subscriptions
WHERE tenant = $1 AND namespace = $2 AND topic_name = $3 AND enabled
ORDER BY name;

-- name: take_keys
-- Binds publishers' keys to messages, or takes over expired ones; returns those that were free. The others' rows are
-- locked either way until the transaction ends. In the order of the keys, so that two can not hold them crosswise.
-- index: message_keys_pkey
INSERT INTO message_keys AS held (tenant, topic_id, key, message_id, expires_at)
SELECT $1, $2, given.key, given.message_id, now() + make_interval(secs => $5)
FROM unnest($3::text[], $4::uuid[]) AS given (key, message_id)
ORDER BY given.key
ON CONFLICT (tenant, topic_id, key) DO UPDATE
    SET message_id = excluded.message_id, expires_at = excluded.expires_at
    WHERE held.expires_at <= now()
RETURNING key;

-- name: get_keys
-- The messages that keys are bound to.
-- index: message_keys_pkey
SELECT key, message_id FROM message_keys WHERE tenant = $1 AND topic_id = $2 AND key = ANY ($3::text[]);

-- name: insert_messages
-- Keeps messages, one row of the arrays each; $4 is who published them, at depth $5 of the chain $6.
INSERT INTO messages (tenant, namespace, topic_id, publisher, call_depth, call_chain, id, key, payload, attributes)
SELECT $1, $2, $3, $4, $5, $6, message.id, message.key, message.payload, message.attributes
FROM unnest($7::uuid[], $8::text[], $9::bytea[], $10::jsonb[]) AS message (id, key, payload, attributes)
RETURNING id, published_at;

-- name: insert_deliveries
-- Accepts the jobs that take messages ($3 their ids, $4 the events, $5 the depths of their calls) to subscriptions: $6
-- are the jobs' ids, $7 the places of the messages, $8 the subscriptions.
-- index: subscriptions_pkey
INSERT INTO jobs (tenant, namespace, id, function_name, payload, status, subject, source, max_attempts, backoff_base_s,
                  backoff_max_s, call_depth, subscription_id, message_id, qualifier)
SELECT $1, $2, job.id, subscription.function_name, message.event,
       CASE WHEN subscription.is_paused THEN 'paused' ELSE 'queued' END, 'subscription:' || subscription.name,
       'subscription/' || subscription.name, subscription.max_attempts, subscription.backoff_base_s,
       subscription.backoff_max_s, message.call_depth, subscription.id, message.id, subscription.qualifier
FROM unnest($6::uuid[], $7::bigint[], $8::uuid[]) AS job (id, message, subscription_id)
JOIN unnest($3::uuid[], $4::bytea[], $5::integer[]) WITH ORDINALITY AS message (id, event, call_depth, place)
    ON message.place = job.message
JOIN subscriptions AS subscription ON subscription.tenant = $1 AND subscription.id = job.subscription_id;

-- name: list
-- Messages of a topic, newest first; $3 is a key or null.
-- index: messages_by_topic
SELECT id, key, payload, attributes, publisher, call_depth, call_chain, published_at
FROM messages
WHERE tenant = $1 AND topic_id = $2 AND ($3::text IS NULL OR key = $3)
ORDER BY id DESC
LIMIT $4 OFFSET $5;

-- name: count
-- How many messages `list` has in all, counted up to $4.
-- index: messages_by_topic
SELECT count(*)
FROM (SELECT FROM messages WHERE tenant = $1 AND topic_id = $2 AND ($3::text IS NULL OR key = $3) LIMIT $4) AS counted;

-- name: window
-- Up to $6 messages of a topic behind the id $3, from the instant $4 to before $5, the oldest first; of these as many
-- as have $7 bytes together, one at least.
-- index: messages_by_topic
SELECT id, key, payload, attributes, publisher, call_depth, call_chain, published_at
FROM (
    SELECT part.*, sum(octet_length(payload)) OVER (ORDER BY id) - octet_length(payload) AS bytes_before
    FROM (SELECT id, key, payload, attributes, publisher, call_depth, call_chain, published_at
          FROM messages
          WHERE tenant = $1 AND topic_id = $2 AND id > $3 AND id >= uuid7_floor($4) AND id < uuid7_floor($5)
          ORDER BY id
          LIMIT $6) AS part
) AS measured
WHERE bytes_before < $7
ORDER BY id;

-- name: deliveries
-- Deliveries of a subscription, newest first; $3 is a status of a live job, 'succeeded', or null; $4 a message or null.
-- index: jobs_by_subscription
-- index: jobs_done_by_subscription
(SELECT id, message_id, function_name, status, attempt, max_attempts, run_at, request_id, error, duration_ms,
        created_at, started_at, finished_at
 FROM jobs
 WHERE tenant = $1 AND subscription_id = $2 AND ($3::text IS NULL OR status = $3)
   AND ($4::uuid IS NULL OR message_id = $4)
 ORDER BY id DESC
 LIMIT $5::bigint + $6::bigint)
UNION ALL
(SELECT id, message_id, function_name, 'succeeded', attempt, max_attempts, created_at, request_id, NULL::bytea,
        duration_ms, created_at, started_at, finished_at
 FROM jobs_done
 WHERE tenant = $1 AND subscription_id = $2 AND ($3::text IS NULL OR $3 = 'succeeded')
   AND ($4::uuid IS NULL OR message_id = $4)
 ORDER BY id DESC
 LIMIT $5::bigint + $6::bigint)
ORDER BY id DESC
LIMIT $5 OFFSET $6;

-- name: count_deliveries
-- How many deliveries `deliveries` has in all, counted up to $5.
-- index: jobs_by_subscription
-- index: jobs_done_by_subscription
SELECT count(*)
FROM (
    (SELECT FROM jobs
     WHERE tenant = $1 AND subscription_id = $2 AND ($3::text IS NULL OR status = $3)
       AND ($4::uuid IS NULL OR message_id = $4)
     LIMIT $5)
    UNION ALL
    (SELECT FROM jobs_done
     WHERE tenant = $1 AND subscription_id = $2 AND ($3::text IS NULL OR $3 = 'succeeded')
       AND ($4::uuid IS NULL OR message_id = $4)
     LIMIT $5)
    LIMIT $5
) AS counted;

-- name: standing
-- How many deliveries of a subscription stand in each live status, and since when the oldest waits.
-- index: jobs_by_subscription
SELECT status, count(*) AS count, min(created_at) FILTER (WHERE status <> 'dead') AS oldest_at
FROM jobs
WHERE tenant = $1 AND subscription_id = $2
GROUP BY status;

-- name: redrive
-- Puts up to $3 dead deliveries of a subscription back in line with all their attempts.
-- index: jobs_by_subscription
UPDATE jobs AS held
SET status = queued_or_paused(held.tenant, held.subscription_id), attempt = 0, run_at = now(), finished_at = NULL
FROM (SELECT tenant, id FROM jobs WHERE tenant = $1 AND subscription_id = $2 AND status = 'dead'
      ORDER BY id DESC LIMIT $3 FOR UPDATE SKIP LOCKED) AS dead
WHERE held.tenant = dead.tenant AND held.id = dead.id;

-- name: waiting
-- Over all tenants: how many deliveries stand in each live status, and for how many seconds the oldest that is due waits.
-- index: jobs_by_subscription
SELECT status, count(*) AS count,
       (extract(epoch FROM now() - min(run_at) FILTER (WHERE status = 'queued' AND run_at <= now())))::double precision AS lag_s
FROM jobs
WHERE subscription_id IS NOT NULL
GROUP BY status;
