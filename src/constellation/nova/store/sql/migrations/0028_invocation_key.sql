-- The invocation log has one index less to write: its key is what a scope is read by.

ALTER TABLE invocations DROP CONSTRAINT invocations_pkey;
ALTER TABLE invocations ADD PRIMARY KEY (tenant, namespace, id);
DROP INDEX invocations_by_scope;

-- Forgets up to `batch` rows of the log that their functions keep no longer, and says how many: call it until it is less.
CREATE OR REPLACE FUNCTION forget_logs(batch integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    WITH old AS (
        SELECT log.tenant, log.namespace, log.id
        FROM public.functions AS f
        CROSS JOIN LATERAL (
            SELECT tenant, namespace, id FROM public.invocations
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
        WHERE invocations.tenant = old.tenant AND invocations.namespace = old.namespace AND invocations.id = old.id
        RETURNING 1
    )
    SELECT count(*) FROM gone
$$;
