-- Secrets of namespaces, sealed by nova; which functions use them; and which master keys there have been.

CREATE TABLE secrets (
    tenant        text NOT NULL,
    namespace     text NOT NULL,
    name          text NOT NULL CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
    key_version   integer NOT NULL, -- of the master key
    sealed_key    bytea NOT NULL, -- by the master key
    sealed_value  bytea NOT NULL CHECK (octet_length(sealed_value) <= 66000), -- by that key
    version       bigint NOT NULL DEFAULT 1,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, namespace, name),
    FOREIGN KEY (tenant, namespace) REFERENCES namespaces ON DELETE CASCADE
);
CREATE INDEX secrets_by_key ON secrets (key_version);

-- What tells master keys apart; the keys are not here.
CREATE TABLE master_keys (
    version      integer PRIMARY KEY,
    fingerprint  bytea NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now()
);

-- Kept by a trigger, so no way of changing a function goes round it. Judged at the commit: what deletes a namespace may
-- do so in any order.
CREATE TABLE function_secrets (
    tenant         text NOT NULL,
    namespace      text NOT NULL,
    secret         text NOT NULL,
    function_name  text NOT NULL,
    PRIMARY KEY (tenant, namespace, secret, function_name),
    CONSTRAINT function_secrets_secret FOREIGN KEY (tenant, namespace, secret) REFERENCES secrets
        DEFERRABLE INITIALLY DEFERRED,
    FOREIGN KEY (tenant, namespace, function_name) REFERENCES functions (tenant, namespace, name) ON DELETE CASCADE
);
CREATE INDEX function_secrets_by_function ON function_secrets (tenant, namespace, function_name);

CREATE FUNCTION keep_function_secrets() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    used text[] := ARRAY(SELECT DISTINCT substr(value, 9) FROM jsonb_each_text(NEW.env) WHERE value LIKE '$SECRET:%');
BEGIN
    DELETE FROM public.function_secrets
    WHERE tenant = NEW.tenant AND namespace = NEW.namespace AND function_name = NEW.name AND secret <> ALL (used);
    INSERT INTO public.function_secrets (tenant, namespace, secret, function_name)
    SELECT NEW.tenant, NEW.namespace, secret, NEW.name FROM unnest(used) AS secret
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION keep_function_secrets() FROM PUBLIC;
CREATE TRIGGER functions_use_secrets AFTER INSERT OR UPDATE OF env ON functions
    FOR EACH ROW EXECUTE FUNCTION keep_function_secrets();

-- A value that is sealed anew is no change.
CREATE TRIGGER secrets_before_change BEFORE INSERT OR UPDATE OF sealed_value OR DELETE ON secrets
    EXECUTE FUNCTION before_change();
CREATE TRIGGER secrets_changed AFTER INSERT OR UPDATE OF sealed_value OR DELETE ON secrets
    FOR EACH ROW EXECUTE FUNCTION record_change('secret');
