-- Versions of functions: what one was each time its code or configuration changed. A trigger writes them, so no way of
-- changing a function goes round them.

ALTER TABLE functions
    ADD COLUMN live_version integer NOT NULL DEFAULT 0,
    ADD COLUMN newest_version integer NOT NULL DEFAULT 0,
    ADD COLUMN newest_code_version integer NOT NULL DEFAULT 0,
    ADD COLUMN kept_versions integer NOT NULL DEFAULT 100 CHECK (kept_versions BETWEEN 1 AND 1000);

-- The code is what function_code and function_files have under its number; no code that a version names is dropped.
CREATE TABLE function_versions (
    tenant        text NOT NULL,
    function_id   uuid NOT NULL,
    version       integer NOT NULL CHECK (version > 0),
    code_version  integer NOT NULL,
    settings      jsonb NOT NULL, -- the columns of the row, as `versioned` picks them
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, function_id, version),
    FOREIGN KEY (tenant, function_id) REFERENCES functions ON DELETE CASCADE,
    FOREIGN KEY (tenant, function_id, code_version) REFERENCES function_code DEFERRABLE INITIALLY DEFERRED
);

-- What a version keeps of a function's row: how it runs, and not what it is called or how it stands.
CREATE FUNCTION versioned(f functions) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT to_jsonb(f) - ARRAY['tenant', 'namespace', 'name', 'id', 'halted', 'pending_version', 'pending_hash',
        'pending_handler', 'pending_error', 'version', 'created_at', 'updated_at', 'live_version', 'newest_version',
        'newest_code_version', 'kept_versions']
$$;

-- A changed function has the next number; one whose live version is set goes back to what that version was.
CREATE FUNCTION number_version() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        NEW.live_version := least(NEW.code_version, 1);
        NEW.newest_version := NEW.live_version;
        NEW.newest_code_version := greatest(NEW.code_version, NEW.pending_version);
        RETURN NEW;
    END IF;
    NEW.newest_version := OLD.newest_version;
    NEW.newest_code_version := greatest(OLD.newest_code_version, NEW.code_version, NEW.pending_version);
    IF NEW.code_version > 0 AND NEW.live_version = OLD.live_version
       AND public.versioned(NEW) IS DISTINCT FROM public.versioned(OLD) THEN
        NEW.newest_version := OLD.newest_version + 1;
        NEW.live_version := NEW.newest_version;
    END IF;
    RETURN NEW;
END $$;
-- Later than the row, which it refers to.
CREATE FUNCTION keep_version() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    INSERT INTO public.function_versions (tenant, function_id, version, code_version, settings)
    VALUES (NEW.tenant, NEW.id, NEW.newest_version, NEW.code_version, public.versioned(NEW));
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION keep_version() FROM PUBLIC;

-- What functions are now is their first version.
UPDATE functions
SET live_version = least(code_version, 1), newest_version = least(code_version, 1),
    newest_code_version = greatest(code_version, pending_version);
INSERT INTO function_versions (tenant, function_id, version, code_version, settings)
SELECT tenant, id, 1, code_version, versioned(functions) FROM functions WHERE code_version > 0;

CREATE TRIGGER functions_number_version BEFORE INSERT OR UPDATE ON functions
    FOR EACH ROW EXECUTE FUNCTION number_version();
CREATE TRIGGER functions_created AFTER INSERT ON functions
    FOR EACH ROW WHEN (NEW.newest_version > 0) EXECUTE FUNCTION keep_version();
CREATE TRIGGER functions_versioned AFTER UPDATE ON functions
    FOR EACH ROW WHEN (NEW.newest_version > OLD.newest_version) EXECUTE FUNCTION keep_version();
