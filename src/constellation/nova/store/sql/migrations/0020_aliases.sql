-- Aliases: names under which versions of a function are called, each with its share of the calls.

CREATE TABLE function_aliases (
    tenant       text NOT NULL,
    function_id  uuid NOT NULL,
    name         text NOT NULL CHECK (name ~ '^[A-Za-z][A-Za-z0-9_-]{0,63}$'),
    is_sticky    boolean NOT NULL DEFAULT false,
    description  text NOT NULL DEFAULT '',
    version      bigint NOT NULL DEFAULT 1,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, function_id, name),
    FOREIGN KEY (tenant, function_id) REFERENCES functions ON DELETE CASCADE
);

CREATE TABLE function_alias_shares (
    tenant       text NOT NULL,
    function_id  uuid NOT NULL,
    alias        text NOT NULL,
    version      integer NOT NULL,
    weight       integer NOT NULL CHECK (weight BETWEEN 0 AND 100), -- percent
    PRIMARY KEY (tenant, function_id, alias, version),
    FOREIGN KEY (tenant, function_id, alias) REFERENCES function_aliases ON DELETE CASCADE,
    FOREIGN KEY (tenant, function_id, version) REFERENCES function_versions DEFERRABLE INITIALLY DEFERRED
);

-- A change of an alias is one of its function to whoever follows; a function that is deleted says so itself.
CREATE FUNCTION record_alias_change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    changed public.function_aliases := coalesce(NEW, OLD);
BEGIN
    INSERT INTO public.changes (seq, kind, tenant, namespace, name)
    SELECT nextval('public.changes_seq'), 'function', tenant, namespace, name
    FROM public.functions
    WHERE tenant = changed.tenant AND id = changed.function_id;
    NOTIFY changes;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION record_alias_change() FROM PUBLIC;
CREATE TRIGGER function_aliases_before_change BEFORE INSERT OR UPDATE OR DELETE ON function_aliases
    EXECUTE FUNCTION before_change();
CREATE TRIGGER function_aliases_changed AFTER INSERT OR UPDATE OR DELETE ON function_aliases
    FOR EACH ROW EXECUTE FUNCTION record_alias_change();
