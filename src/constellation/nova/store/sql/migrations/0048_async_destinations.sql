-- Where the results of durable calls go: a function or a topic of the namespace, in the transaction that ends the job.

ALTER TABLE functions
    ADD COLUMN on_success text NOT NULL DEFAULT '' CHECK (on_success ~ '^((function|topic):[A-Za-z0-9][A-Za-z0-9._-]{0,127})?$'),
    ADD COLUMN on_failure text NOT NULL DEFAULT '' CHECK (on_failure ~ '^((function|topic):[A-Za-z0-9][A-Za-z0-9._-]{0,127})?$');
-- What was made before had none.
UPDATE function_versions SET settings = settings || '{"on_success": "", "on_failure": ""}';

-- Where the result of a job goes whose run was of another version than the live one, which has `of_live`.
CREATE FUNCTION version_destination(of_tenant text, of_function uuid, of_version integer, of_live text, which text) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    SELECT coalesce((SELECT settings ->> which FROM public.function_versions
                     WHERE tenant = of_tenant AND function_id = of_function AND version = of_version), of_live)
$$;
REVOKE ALL ON FUNCTION version_destination(text, uuid, integer, text, text) FROM PUBLIC;

ALTER TABLE notifications DROP CONSTRAINT notifications_kind_check;
ALTER TABLE notifications ADD CONSTRAINT notifications_kind_check
    CHECK (kind IN ('build_failed', 'canary_rolled_back', 'breaker_opened', 'call_dead', 'delivery_dead',
                    'schedule_failed', 'key_expiring', 'secrets_resealed', 'database_nearly_full',
                    'database_full', 'destination_failed'));

-- A result that reached nobody; its job keeps it.
CREATE FUNCTION notice_of_lost_result(of_tenant text, of_namespace text, function_name text, detail text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    SELECT public.notice(of_tenant, of_namespace, 'destination_failed', function_name, detail)
$$;
REVOKE ALL ON FUNCTION notice_of_lost_result(text, text, text, text) FROM PUBLIC;
