-- What tenants may use: limits of tiers, a tenant's own in their place, and what it used.

-- The platform's own; no tenant writes them.
CREATE TABLE tiers (
    name         text PRIMARY KEY CHECK (name ~ '^[a-z0-9][a-z0-9_-]{0,63}$'),
    description  text NOT NULL DEFAULT '',
    version      bigint NOT NULL DEFAULT 1,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now()
);

CREATE DOMAIN quota_dimension AS text CHECK (VALUE IN (
    'invocations_per_s', 'invocations_per_month', 'concurrent_invocations', 'publishes_per_s', 'queue_depth', 'functions',
    'memory_mb', 'vcpu_milli'));

-- A dimension without a row has no limit.
CREATE TABLE tier_limits (
    tier       text NOT NULL REFERENCES tiers ON DELETE CASCADE,
    dimension  quota_dimension NOT NULL,
    value      double precision NOT NULL CHECK (value >= 0 AND value < 'infinity'),
    burst      integer NOT NULL DEFAULT 0 CHECK (burst >= 0), -- of a rate; 0: one second's worth
    PRIMARY KEY (tier, dimension)
);

-- A row stands for that of the tier; without a value it lifts the limit.
CREATE TABLE tenant_limits (
    tenant     text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    dimension  quota_dimension NOT NULL,
    value      double precision CHECK (value >= 0 AND value < 'infinity'),
    burst      integer NOT NULL DEFAULT 0 CHECK (burst >= 0),
    PRIMARY KEY (tenant, dimension)
);

-- Calls that were let in, by calendar month (UTC); comets add to it.
CREATE TABLE tenant_usage (
    tenant  text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    month   date NOT NULL,
    calls   bigint NOT NULL DEFAULT 0 CHECK (calls >= 0),
    PRIMARY KEY (tenant, month)
);

INSERT INTO tiers (name, description) VALUES
    ('free', 'for trying things'),
    ('standard', 'for everyday work; what a new tenant gets'),
    ('premium', 'for much work'),
    ('unlimited', 'without limits; what the default tenant has');
INSERT INTO tier_limits (tier, dimension, value, burst) VALUES
    ('free', 'invocations_per_s', 20, 40),
    ('free', 'invocations_per_month', 1000000, 0),
    ('free', 'concurrent_invocations', 20, 0),
    ('free', 'publishes_per_s', 20, 100),
    ('free', 'queue_depth', 1000, 0),
    ('free', 'functions', 25, 0),
    ('free', 'memory_mb', 8192, 0),
    ('free', 'vcpu_milli', 25000, 0),
    ('standard', 'invocations_per_s', 1000, 2000),
    ('standard', 'concurrent_invocations', 1000, 0),
    ('standard', 'publishes_per_s', 1000, 5000),
    ('standard', 'queue_depth', 20000, 0),
    ('standard', 'functions', 1000, 0),
    ('standard', 'memory_mb', 1048576, 0),
    ('standard', 'vcpu_milli', 4000000, 0),
    ('premium', 'invocations_per_s', 10000, 20000),
    ('premium', 'publishes_per_s', 10000, 20000),
    ('premium', 'queue_depth', 100000, 0),
    ('premium', 'functions', 10000, 0);

ALTER TABLE tenants ADD COLUMN tier text NOT NULL DEFAULT 'standard' REFERENCES tiers;
UPDATE tenants SET tier = 'unlimited'; -- nobody who was there before is limited by surprise
CREATE INDEX tenants_by_tier ON tenants (tier);
CREATE INDEX tenants_suspended ON tenants (id) WHERE status = 'suspended';

-- A tenant's limits: its own, else its tier's. Definer: planes ask for it that may not read the tables.
CREATE FUNCTION limits_of(which text)
RETURNS TABLE (dimension text, value double precision, burst integer, is_own boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    SELECT own.dimension::text, own.value, own.burst, true
    FROM public.tenant_limits AS own
    WHERE own.tenant = which
    UNION ALL
    SELECT given.dimension::text, given.value, given.burst, false
    FROM public.tenants
    JOIN public.tier_limits AS given ON given.tier = tenants.tier
    WHERE tenants.id = which
      AND NOT EXISTS (SELECT FROM public.tenant_limits AS own
                      WHERE own.tenant = which AND own.dimension = given.dimension)
$$;
REVOKE ALL ON FUNCTION limits_of(text) FROM PUBLIC;

-- Functions of a tenant are added up when one is added or grows. Whoever changes functions holds the lock of the change
-- log by then, so the sum is that of all that is committed and of this change. A tenant that is above a limit may shrink.
CREATE FUNCTION refuse_beyond_quota() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    given record;
    sums double precision[];
    used double precision;
BEGIN
    FOR given IN SELECT dimension, value FROM public.limits_of(NEW.tenant)
                 WHERE dimension IN ('functions', 'memory_mb', 'vcpu_milli') AND value IS NOT NULL
    LOOP
        IF sums IS NULL THEN
            SELECT ARRAY[count(*), sum(memory_mb), sum(cpu_millis)] INTO sums FROM public.functions WHERE tenant = NEW.tenant;
        END IF;
        used := sums[array_position(ARRAY['functions', 'memory_mb', 'vcpu_milli'], given.dimension)];
        IF used > given.value
           AND (TG_OP = 'INSERT' OR (given.dimension = 'memory_mb' AND NEW.memory_mb > OLD.memory_mb)
                OR (given.dimension = 'vcpu_milli' AND NEW.cpu_millis > OLD.cpu_millis)) THEN
            RAISE EXCEPTION 'beyond the quota of %', given.dimension
                USING ERRCODE = 'CQ429', DETAIL = concat_ws(' ', given.dimension, used, given.value);
        END IF;
    END LOOP;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION refuse_beyond_quota() FROM PUBLIC;
CREATE TRIGGER functions_quota_on_insert AFTER INSERT ON functions
    FOR EACH ROW EXECUTE FUNCTION refuse_beyond_quota();
CREATE TRIGGER functions_quota_on_growth AFTER UPDATE ON functions
    FOR EACH ROW WHEN (NEW.memory_mb > OLD.memory_mb OR NEW.cpu_millis > OLD.cpu_millis)
    EXECUTE FUNCTION refuse_beyond_quota();

CREATE TRIGGER tenant_limits_before_change BEFORE INSERT OR UPDATE OR DELETE ON tenant_limits
    EXECUTE FUNCTION before_change();
CREATE TRIGGER tenant_limits_changed AFTER INSERT OR UPDATE OR DELETE ON tenant_limits
    FOR EACH ROW EXECUTE FUNCTION record_change('tenant');

-- A tenant that may work again has waiting jobs and schedules claimed at once.
CREATE FUNCTION wake_tenant() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NOTIFY jobs;
    NOTIFY schedules;
    RETURN NULL;
END $$;
CREATE TRIGGER tenants_woken AFTER UPDATE ON tenants
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION wake_tenant();

-- Of a suspended tenant nothing is claimed.
CREATE OR REPLACE FUNCTION queue_heads(walk integer)
RETURNS TABLE (tenant text, namespace text, function_name text, run_at timestamptz)
LANGUAGE sql STABLE AS $$
    WITH RECURSIVE head AS (
        (SELECT job.tenant, job.namespace, job.function_name, job.run_at, 1 AS nth
         FROM jobs AS job
         WHERE job.status = 'queued'
         ORDER BY job.tenant, job.namespace, job.function_name, job.run_at
         LIMIT 1)
        UNION ALL
        SELECT following.tenant, following.namespace, following.function_name, following.run_at, head.nth + 1
        FROM head
        CROSS JOIN LATERAL (
            SELECT job.tenant, job.namespace, job.function_name, job.run_at
            FROM jobs AS job
            WHERE job.status = 'queued'
              AND (job.tenant, job.namespace, job.function_name) > (head.tenant, head.namespace, head.function_name)
            ORDER BY job.tenant, job.namespace, job.function_name, job.run_at
            LIMIT 1
        ) AS following
        WHERE head.nth < walk
    )
    SELECT head.tenant, head.namespace, head.function_name, head.run_at
    FROM head
    WHERE NOT EXISTS (SELECT FROM job_pauses AS paused
                      WHERE paused.tenant = head.tenant AND paused.namespace = head.namespace
                        AND paused.function_name IN ('', head.function_name))
      AND NOT EXISTS (SELECT FROM tenants WHERE tenants.id = head.tenant AND tenants.status = 'suspended')
$$;
