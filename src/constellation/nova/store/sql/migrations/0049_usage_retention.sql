-- A year's days of calls are kept, and a month more.
CREATE INDEX tenant_usage_by_day ON tenant_usage (day);

-- Forgets up to `most` days of tenants that are more than `keep` days ago; says how many. The month that a quota counts is
-- never among them.
CREATE FUNCTION forget_usage(keep integer, most integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    WITH gone AS (
        DELETE FROM public.tenant_usage
        WHERE ctid = ANY (ARRAY(SELECT ctid FROM public.tenant_usage
                                WHERE day < (now() AT TIME ZONE 'UTC')::date - greatest(keep, 31) ORDER BY day LIMIT most))
        RETURNING 1
    )
    SELECT count(*) FROM gone
$$;
REVOKE ALL ON FUNCTION forget_usage(integer, integer) FROM PUBLIC;
