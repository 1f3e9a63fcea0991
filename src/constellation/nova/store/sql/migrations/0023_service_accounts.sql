-- Accounts of programs: their keys are as good as their roles, and end with them. When a key was used last.

CREATE TABLE service_accounts (
    tenant       text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    name         text NOT NULL CHECK (name ~ '^[a-z0-9][a-z0-9_-]{0,63}$'),
    description  text NOT NULL DEFAULT '',
    enabled      boolean NOT NULL DEFAULT true,
    version      bigint NOT NULL DEFAULT 1,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, name)
);

ALTER TABLE api_keys ADD COLUMN service_account text;
ALTER TABLE api_keys ALTER COLUMN role DROP NOT NULL;
ALTER TABLE api_keys ADD CONSTRAINT api_keys_service_account_fkey
    FOREIGN KEY (tenant, service_account) REFERENCES service_accounts ON DELETE CASCADE;
ALTER TABLE api_keys ADD CONSTRAINT api_keys_bearer_check
    CHECK ((role IS NULL) = (service_account IS NOT NULL) AND NOT (is_platform AND service_account IS NOT NULL));
CREATE INDEX api_keys_by_service_account ON api_keys (tenant, service_account) WHERE service_account IS NOT NULL;

CREATE TABLE api_key_uses (
    tenant   text NOT NULL,
    name     text NOT NULL,
    used_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant, name),
    FOREIGN KEY (tenant, name) REFERENCES api_keys ON DELETE CASCADE
);

CREATE OR REPLACE FUNCTION record_principal_change() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    changed jsonb := to_jsonb(coalesce(OLD, NEW));
    subject text := CASE TG_ARGV[0]
        WHEN 'role' THEN ''
        WHEN 'binding' THEN changed->>'subject'
        WHEN 'service_account' THEN 'service-account:' || (changed->>'name')
        WHEN 'session' THEN 'session:' || (changed->>'tenant') || '/' || (changed->>'id')
        ELSE CASE WHEN (changed->>'is_platform')::boolean THEN 'platform-user:' ELSE 'user:' END || (changed->>'name')
    END;
BEGIN
    INSERT INTO public.changes (seq, kind, tenant, namespace, name)
    VALUES (nextval('public.changes_seq'), 'principal', changed->>'tenant', '', subject);
    NOTIFY changes;
    RETURN NULL;
END $$;

CREATE TRIGGER service_accounts_before_change BEFORE INSERT OR UPDATE OR DELETE ON service_accounts
    EXECUTE FUNCTION before_change();
CREATE TRIGGER service_accounts_changed AFTER UPDATE OR DELETE ON service_accounts
    FOR EACH ROW EXECUTE FUNCTION record_principal_change('service_account');
