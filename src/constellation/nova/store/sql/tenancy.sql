-- name: insert_tenant
-- A new tenant.
INSERT INTO tenants (id, name, tier) VALUES ($1, $2, $3)
RETURNING id, name, status, tier, version, created_at, updated_at;

-- name: get_tenant
-- One tenant.
-- index: tenants_pkey
SELECT id, name, status, tier, version, created_at, updated_at FROM tenants WHERE id = $1;

-- name: list_tenants
-- Tenants by id.
-- index: tenants_pkey
SELECT id, name, status, tier, version, created_at, updated_at FROM tenants ORDER BY id LIMIT $1 OFFSET $2;

-- name: count_tenants
-- How many tenants there are.
SELECT count(*) FROM tenants;

-- name: update_tenant
-- Name, status and tier of a tenant that is still at row version $4.
-- index: tenants_pkey
UPDATE tenants SET name = $2, status = $3, tier = $5, version = version + 1, updated_at = now()
WHERE id = $1 AND version = $4
RETURNING id, name, status, tier, version, created_at, updated_at;

-- name: delete_tenant
-- A tenant; namespaces, keys, functions and schedules go with it.
-- index: tenants_pkey
DELETE FROM tenants WHERE id = $1;

-- name: insert_namespace
-- A new namespace of a tenant.
INSERT INTO namespaces (tenant, name) VALUES ($1, $2)
RETURNING tenant, name, created_at;

-- name: get_namespace
-- One namespace.
-- index: namespaces_pkey
SELECT tenant, name, created_at FROM namespaces WHERE tenant = $1 AND name = $2;

-- name: list_namespaces
-- The namespaces of a tenant by name.
-- index: namespaces_pkey
SELECT tenant, name, created_at FROM namespaces WHERE tenant = $1 ORDER BY name LIMIT $2 OFFSET $3;

-- name: count_namespaces
-- How many namespaces a tenant has.
-- index: namespaces_pkey
SELECT count(*) FROM namespaces WHERE tenant = $1;

-- name: serialize
-- Lets one change of configuration at a time through; the triggers of the change log take the same lock.
SELECT lock_changes();

-- name: delete_namespace
-- A namespace; its functions and schedules go with it.
-- index: namespaces_pkey
DELETE FROM namespaces WHERE tenant = $1 AND name = $2;

-- name: delete_keys
-- The API keys that act in a namespace only.
-- index: api_keys_pkey
DELETE FROM api_keys WHERE tenant = $1 AND namespace = $2;

-- name: delete_jobs
-- Live jobs of a tenant, of one namespace or ($2 null) of all.
-- index: jobs_pkey or jobs_by_function
DELETE FROM jobs WHERE tenant = $1 AND ($2::text IS NULL OR namespace = $2);

-- name: delete_job_keys
-- Idempotency keys of a tenant, of one namespace or ($2 null) of all.
-- index: job_keys_pkey
DELETE FROM job_keys WHERE tenant = $1 AND ($2::text IS NULL OR namespace = $2);

-- name: delete_call_keys
-- Idempotency keys of calls of a tenant, of one namespace or ($2 null) of all.
-- index: call_keys_pkey
DELETE FROM call_keys WHERE tenant = $1 AND ($2::text IS NULL OR namespace = $2);

-- name: delete_jobs_done
-- Finished jobs of a tenant, of one namespace or ($2 null) of all.
-- index: jobs_done_pkey or jobs_done_by_function
DELETE FROM jobs_done WHERE tenant = $1 AND ($2::text IS NULL OR namespace = $2);

-- name: delete_invocations
-- The invocation log of a tenant, of one namespace or ($2 null) of all.
-- index: invocations_pkey
DELETE FROM invocations WHERE tenant = $1 AND ($2::text IS NULL OR namespace = $2);

-- name: delete_messages
-- Messages of a tenant, of one namespace or ($2 null) of all.
-- index: messages_pkey or messages_by_topic
DELETE FROM messages WHERE tenant = $1 AND ($2::text IS NULL OR namespace = $2);

-- name: delete_notices
-- What is not yet told of a tenant, of one namespace or ($2 null) of all.
-- index: notices_pkey
DELETE FROM notices WHERE tenant = $1 AND ($2::text IS NULL OR namespace = $2);

-- name: delete_notifications
-- What was told of a tenant, of one namespace or ($2 null) of all.
-- index: notifications_pkey or notifications_in_order
DELETE FROM notifications WHERE tenant = $1 AND ($2::text IS NULL OR namespace = $2);

-- name: delete_artifacts
-- What builds of a tenant made; its functions are gone.
-- index: artifacts_pkey
DELETE FROM artifacts WHERE tenant = $1;

-- name: delete_audit
-- Who did what in a tenant: whoever takes its name later does not see it.
-- index: audit_pkey or audit_by_actor
DELETE FROM audit WHERE tenant = $1;
