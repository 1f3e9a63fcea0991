-- What an instance is for, and how long a function's calls stay in the log.

ALTER TABLE functions
    ADD COLUMN mode text NOT NULL DEFAULT 'process' CHECK (mode IN ('process', 'isolated')),
    ADD COLUMN log_retention_days integer NOT NULL DEFAULT 0 CHECK (log_retention_days BETWEEN 0 AND 3650),
    ADD CONSTRAINT functions_isolated_check CHECK (mode <> 'isolated' OR instance_concurrency = 1);
CREATE INDEX functions_forgetting ON functions (tenant, namespace, name) WHERE log_retention_days > 0;

-- Forgets up to `batch` rows of the log that their functions keep no longer, and says how many: call it until it is less.
CREATE FUNCTION forget_logs(batch integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    WITH old AS (
        SELECT log.tenant, log.id
        FROM public.functions AS f
        CROSS JOIN LATERAL (
            SELECT tenant, id FROM public.invocations
            WHERE tenant = f.tenant AND namespace = f.namespace AND function_name = f.name
              AND id < public.uuid7_floor(now() - make_interval(days => f.log_retention_days))
            ORDER BY id
            LIMIT batch
        ) AS log
        WHERE f.log_retention_days > 0
        LIMIT batch
    ),
    gone AS (
        DELETE FROM public.invocations
        USING old
        WHERE invocations.tenant = old.tenant AND invocations.id = old.id
        RETURNING 1
    )
    SELECT count(*) FROM gone
$$;
REVOKE ALL ON FUNCTION forget_logs(integer) FROM PUBLIC;
