-- What a tenant may call in a day, and what each of its keys may in a second.

ALTER DOMAIN quota_dimension DROP CONSTRAINT quota_dimension_check;
ALTER DOMAIN quota_dimension ADD CONSTRAINT quota_dimension_check CHECK (VALUE IN (
    'invocations_per_s', 'key_invocations_per_s', 'invocations_per_day', 'invocations_per_month',
    'concurrent_invocations', 'publishes_per_s', 'queue_depth', 'functions', 'memory_mb', 'vcpu_milli'));

-- Calls are counted by day, and a month is the sum of its days. Those of a month that was counted as one are its first day's.
ALTER TABLE tenant_usage RENAME COLUMN month TO day;
DO $$ -- where a column's NOT NULL has a name, it has that of the column
BEGIN
    IF EXISTS (SELECT FROM pg_constraint WHERE conname = 'tenant_usage_month_not_null') THEN
        ALTER TABLE tenant_usage RENAME CONSTRAINT tenant_usage_month_not_null TO tenant_usage_day_not_null;
    END IF;
END $$;

-- One key of many takes half of what its tenant may.
INSERT INTO tier_limits (tier, dimension, value, burst)
SELECT given.tier, given.dimension, given.value, given.burst
FROM (VALUES
    ('free', 'key_invocations_per_s', 10, 20),
    ('free', 'invocations_per_day', 100000, 0),
    ('standard', 'key_invocations_per_s', 500, 1000),
    ('premium', 'key_invocations_per_s', 5000, 10000)) AS given (tier, dimension, value, burst)
JOIN tiers ON tiers.name = given.tier;
