-- Settings that were set while the planes run, of the platform ('') and of tenants, and what they were before.

CREATE TABLE settings (
    tenant      text NOT NULL,
    key         text NOT NULL CHECK (length(key) BETWEEN 1 AND 100),
    value       text CHECK (length(value) <= 1000), -- null: as the planes are configured
    version     bigint NOT NULL DEFAULT 1,
    updated_by  text NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT now(),
    owner       text GENERATED ALWAYS AS (nullif(tenant, '')) STORED REFERENCES tenants ON DELETE CASCADE,
    PRIMARY KEY (tenant, key)
);
CREATE INDEX settings_by_owner ON settings (owner);

-- Version 0 is what was before the first change.
CREATE TABLE setting_changes (
    tenant   text NOT NULL,
    key      text NOT NULL,
    version  bigint NOT NULL,
    was      text,
    value    text,
    note     text NOT NULL DEFAULT '' CHECK (length(note) <= 500),
    actor    text NOT NULL,
    at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, key, version),
    FOREIGN KEY (tenant, key) REFERENCES settings ON DELETE CASCADE
);

-- Gateways read them again at a change; planes with a database listen for themselves.
CREATE FUNCTION record_setting_change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    changed jsonb := to_jsonb(coalesce(NEW, OLD));
BEGIN
    INSERT INTO public.changes (seq, kind, tenant, namespace, name)
    VALUES (nextval('public.changes_seq'), 'setting', changed->>'tenant', '', changed->>'key');
    NOTIFY changes;
    NOTIFY settings;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION record_setting_change() FROM PUBLIC;
CREATE TRIGGER settings_before_change BEFORE INSERT OR UPDATE OR DELETE ON settings EXECUTE FUNCTION before_change();
CREATE TRIGGER settings_changed AFTER INSERT OR UPDATE OR DELETE ON settings
    FOR EACH ROW EXECUTE FUNCTION record_setting_change();
