-- name: insert_topic
-- A new topic.
INSERT INTO topics (tenant, namespace, id, name, description, retention_hours) VALUES ($1, $2, $3, $4, $5, $6)
RETURNING tenant, namespace, id, name, description, retention_hours, version, created_at, updated_at;

-- name: get_topic
-- One topic by its name in a scope.
-- index: topics_tenant_namespace_name_key
SELECT tenant, namespace, id, name, description, retention_hours, version, created_at, updated_at
FROM topics
WHERE tenant = $1 AND namespace = $2 AND name = $3;

-- name: has_topic
-- Is there such a topic.
-- index: topics_tenant_namespace_name_key
SELECT EXISTS (SELECT FROM topics WHERE tenant = $1 AND namespace = $2 AND name = $3);

-- name: list_topics
-- The topics of a scope by name.
-- index: topics_tenant_namespace_name_key
SELECT tenant, namespace, id, name, description, retention_hours, version, created_at, updated_at
FROM topics
WHERE tenant = $1 AND namespace = $2
ORDER BY name
LIMIT $3 OFFSET $4;

-- name: count_topics
-- How many topics a scope has.
-- index: topics_tenant_namespace_name_key
SELECT count(*) FROM topics WHERE tenant = $1 AND namespace = $2;

-- name: update_topic
-- What of a topic is not null here.
-- index: topics_tenant_namespace_name_key
UPDATE topics
SET description = coalesce($4, description), retention_hours = coalesce($5, retention_hours), version = version + 1,
    updated_at = now()
WHERE tenant = $1 AND namespace = $2 AND name = $3
RETURNING tenant, namespace, id, name, description, retention_hours, version, created_at, updated_at;

-- name: delete_topic
-- A topic; its subscriptions and the keys of its publishers go with it.
-- index: topics_tenant_namespace_name_key
DELETE FROM topics WHERE tenant = $1 AND namespace = $2 AND name = $3;

-- name: purge_messages
-- Deletes up to $3 messages of a topic.
-- index: messages_by_topic or messages_pkey
DELETE FROM messages
USING (SELECT tenant, id FROM messages WHERE tenant = $1 AND topic_id = $2 ORDER BY id LIMIT $3) AS old
WHERE messages.tenant = old.tenant AND messages.id = old.id;

-- name: lock_alone
-- Held by whoever changes where the messages of a topic go: what was published before is written.
SELECT pg_advisory_xact_lock(hashtextextended('topic/' || $1::text || '/' || $2::text || '/' || $3::text, 0));

-- name: insert_subscription
-- A new subscription.
INSERT INTO subscriptions (tenant, namespace, id, name, topic_name, function_name, filter, enabled, max_attempts,
                           backoff_base_s, backoff_max_s, qualifier)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
RETURNING tenant, namespace, id, name, topic_name, function_name, filter, enabled, is_paused, max_attempts,
          backoff_base_s, backoff_max_s, qualifier, version, created_at, updated_at;

-- name: get_subscription
-- One subscription by its name in a scope.
-- index: subscriptions_tenant_namespace_name_key
SELECT tenant, namespace, id, name, topic_name, function_name, filter, enabled, is_paused, max_attempts,
       backoff_base_s, backoff_max_s, qualifier, version, created_at, updated_at
FROM subscriptions
WHERE tenant = $1 AND namespace = $2 AND name = $3;

-- name: list_subscriptions
-- The subscriptions of a scope by name; $3 is a topic and $4 a function, either or both null.
-- index: subscriptions_tenant_namespace_name_key or subscriptions_by_topic or subscriptions_by_function
SELECT tenant, namespace, id, name, topic_name, function_name, filter, enabled, is_paused, max_attempts,
       backoff_base_s, backoff_max_s, qualifier, version, created_at, updated_at
FROM subscriptions
WHERE tenant = $1 AND namespace = $2 AND ($3::text IS NULL OR topic_name = $3)
  AND ($4::text IS NULL OR function_name = $4)
ORDER BY name
LIMIT $5 OFFSET $6;

-- name: count_subscriptions
-- How many subscriptions `list_subscriptions` has in all.
-- index: subscriptions_tenant_namespace_name_key or subscriptions_by_topic or subscriptions_by_function
SELECT count(*)
FROM subscriptions
WHERE tenant = $1 AND namespace = $2 AND ($3::text IS NULL OR topic_name = $3)
  AND ($4::text IS NULL OR function_name = $4);

-- name: update_subscription
-- What of a subscription is not null here.
-- index: subscriptions_tenant_namespace_name_key
UPDATE subscriptions
SET function_name = coalesce($4, function_name), filter = coalesce($5, filter), enabled = coalesce($6, enabled),
    max_attempts = coalesce($7, max_attempts), backoff_base_s = coalesce($8, backoff_base_s),
    backoff_max_s = coalesce($9, backoff_max_s), qualifier = coalesce($10, qualifier), version = version + 1, updated_at = now()
WHERE tenant = $1 AND namespace = $2 AND name = $3
RETURNING tenant, namespace, id, name, topic_name, function_name, filter, enabled, is_paused, max_attempts,
          backoff_base_s, backoff_max_s, qualifier, version, created_at, updated_at;

-- name: set_paused
-- Whether the deliveries of a subscription wait.
-- index: subscriptions_tenant_namespace_name_key
UPDATE subscriptions SET is_paused = $4, version = version + 1, updated_at = now()
WHERE tenant = $1 AND namespace = $2 AND name = $3
RETURNING tenant, namespace, id, name, topic_name, function_name, filter, enabled, is_paused, max_attempts,
          backoff_base_s, backoff_max_s, qualifier, version, created_at, updated_at;

-- name: hold_pause
-- Whether a subscription is paused, which nobody changes until the transaction ends.
-- index: subscriptions_pkey
SELECT is_paused FROM subscriptions WHERE tenant = $1 AND id = $2 FOR SHARE;

-- name: turn_deliveries
-- Takes up to $5 deliveries of a subscription from one state of waiting to the other.
-- index: jobs_by_subscription
UPDATE jobs AS held SET status = $4
FROM (SELECT tenant, id FROM jobs WHERE tenant = $1 AND subscription_id = $2 AND status = $3
      ORDER BY id DESC LIMIT $5 FOR UPDATE) AS waiting
WHERE held.tenant = waiting.tenant AND held.id = waiting.id;

-- name: purge_deliveries
-- Deletes up to $3 deliveries of a subscription that have not succeeded.
-- index: jobs_by_subscription
DELETE FROM jobs
USING (SELECT tenant, id FROM jobs WHERE tenant = $1 AND subscription_id = $2 ORDER BY id DESC LIMIT $3) AS old
WHERE jobs.tenant = old.tenant AND jobs.id = old.id;

-- name: delete_subscription
-- A subscription.
-- index: subscriptions_tenant_namespace_name_key
DELETE FROM subscriptions WHERE tenant = $1 AND namespace = $2 AND name = $3;
