-- name: get_limited
-- A tenant with its limits, a row each; one without any has one row.
-- index: tenants_pkey
SELECT t.id, t.name, t.status, t.tier, t.version, t.created_at, t.updated_at, l.dimension, l.value, l.burst, l.is_own
FROM tenants AS t
LEFT JOIN LATERAL limits_of(t.id) AS l ON true
WHERE t.id = $1;

-- name: put_limit
-- A tenant's own limit in a dimension, in place of the one before.
-- index: tenant_limits_pkey
INSERT INTO tenant_limits (tenant, dimension, value, burst) VALUES ($1, $2, $3, $4)
ON CONFLICT (tenant, dimension) DO UPDATE SET value = excluded.value, burst = excluded.burst;

-- name: delete_limit
-- The tier's limit, or none, is the tenant's again.
-- index: tenant_limits_pkey
DELETE FROM tenant_limits WHERE tenant = $1 AND dimension = $2;

-- name: list_tiers
-- Tiers by name.
-- index: tiers_pkey
SELECT name, description, created_at, updated_at FROM tiers ORDER BY name LIMIT $1 OFFSET $2;

-- name: count_tiers
-- How many tiers there are.
SELECT count(*) FROM tiers;

-- name: list_tier_limits
-- The limits of some tiers.
-- index: tier_limits_pkey
SELECT tier, dimension::text AS dimension, value, burst FROM tier_limits WHERE tier = ANY ($1::text[]) ORDER BY tier, dimension;

-- name: put_tier
-- A tier, new or in place of the one before.
-- index: tiers_pkey
INSERT INTO tiers (name, description) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET description = excluded.description, version = tiers.version + 1, updated_at = now()
RETURNING name, description, created_at, updated_at;

-- name: delete_tier_limits
-- All limits of a tier.
-- index: tier_limits_pkey
DELETE FROM tier_limits WHERE tier = $1;

-- name: insert_tier_limits
-- Limits of a tier, one an element.
INSERT INTO tier_limits (tier, dimension, value, burst)
SELECT $1, given.dimension, given.value, given.burst
FROM unnest($2::text[], $3::double precision[], $4::integer[]) AS given (dimension, value, burst);

-- name: touch_tenants
-- Has whoever follows the change log read the tenants of a tier again.
-- index: tenants_by_tier
UPDATE tenants SET version = version + 1 WHERE tier = $1;

-- name: delete_tier
-- A tier that no tenant has.
-- index: tiers_pkey
DELETE FROM tiers WHERE name = $1;

-- name: count_tenants_of
-- How many tenants have a tier.
-- index: tenants_by_tier
SELECT count(*) FROM tenants WHERE tier = $1;

-- name: used
-- What a tenant uses of what is counted here: its functions, and the size of the largest of its databases.
-- index: function_counts_pkey, databases_pkey or databases_by_secret
SELECT (SELECT coalesce(sum(functions), 0) FROM function_counts WHERE tenant = $1) AS functions,
       (SELECT coalesce(max(size_mb), 0) FROM databases WHERE tenant = $1) AS database_mb;

-- name: lock_depth
-- Until the transaction ends nobody else of a tenant with a bounded queue puts jobs in line.
SELECT pg_advisory_xact_lock(hashtextextended('queue ' || $1, 0));

-- name: queued
-- How many jobs of a tenant wait or run, counted up to $2; dead ones wait for nobody.
-- index: jobs_by_function or jobs_pkey
SELECT count(*) FROM (SELECT FROM jobs WHERE tenant = $1 AND status <> 'dead' LIMIT $2) AS counted;

-- name: calls_of
-- Calls of some tenants today and in this month.
-- index: tenant_usage_pkey
SELECT tenant,
       coalesce(sum(calls) FILTER (WHERE day = (now() AT TIME ZONE 'UTC')::date), 0)::bigint AS in_day,
       sum(calls)::bigint AS in_month
FROM tenant_usage
WHERE tenant = ANY ($1::text[])
  AND day BETWEEN date_trunc('month', now() AT TIME ZONE 'UTC')::date AND (now() AT TIME ZONE 'UTC')::date
GROUP BY tenant;

-- name: add_calls
-- Adds to the calls of today, one tenant an element, and says what they are then; of tenants that are gone nothing.
-- index: tenant_usage_pkey
WITH added AS (
    INSERT INTO tenant_usage AS held (tenant, day, calls)
    SELECT given.tenant, (now() AT TIME ZONE 'UTC')::date, given.calls
    FROM unnest($1::text[], $2::bigint[]) AS given (tenant, calls)
    JOIN tenants ON tenants.id = given.tenant
    ORDER BY given.tenant
    ON CONFLICT (tenant, day) DO UPDATE SET calls = held.calls + excluded.calls
    RETURNING tenant, calls
)
SELECT added.tenant, added.calls AS in_day,
       added.calls + coalesce((
           SELECT sum(before.calls) FROM tenant_usage AS before
           WHERE before.tenant = added.tenant AND before.day >= date_trunc('month', now() AT TIME ZONE 'UTC')::date
             AND before.day < (now() AT TIME ZONE 'UTC')::date), 0)::bigint AS in_month
FROM added;

-- name: value
-- A tenant's limit in a dimension; null: none.
SELECT value FROM limits_of($1) WHERE dimension = $2;
