-- How large each of a tenant's databases on the platform's own server may be.

ALTER DOMAIN quota_dimension DROP CONSTRAINT quota_dimension_check;
ALTER DOMAIN quota_dimension ADD CONSTRAINT quota_dimension_check CHECK (VALUE IN (
    'invocations_per_s', 'key_invocations_per_s', 'invocations_per_day', 'invocations_per_month',
    'concurrent_invocations', 'publishes_per_s', 'queue_depth', 'functions', 'memory_mb', 'vcpu_milli', 'database_mb'));

-- Databases that are there keep the size that they have.
INSERT INTO tier_limits (tier, dimension, value)
SELECT given.tier, given.dimension, given.value
FROM (VALUES ('free', 'database_mb', 256), ('standard', 'database_mb', 4096)) AS given (tier, dimension, value)
JOIN tiers ON tiers.name = given.tier;
