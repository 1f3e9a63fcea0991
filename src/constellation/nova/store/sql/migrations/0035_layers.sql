-- Layers: files that functions of a tenant share, in versions that never change; and who uses which.

ALTER TABLE functions ADD COLUMN layers text[] NOT NULL DEFAULT '{}' CHECK (cardinality(layers) <= 6); -- name:version@hash
-- What was made before had none.
UPDATE function_versions SET settings = settings || '{"layers": []}';

CREATE TABLE layers (
    tenant          text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    name            text NOT NULL CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$'),
    newest_version  integer NOT NULL DEFAULT 0, -- that was ever given: no number means two things
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, name)
);

-- What versions hold. Equal files of a tenant are one; two tenants never share any.
CREATE TABLE layer_contents (
    tenant       text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    hash         text NOT NULL CHECK (hash ~ '^[0-9a-f]{64}$'),
    size_bytes   integer NOT NULL CHECK (size_bytes BETWEEN 0 AND 67108864),
    files_count  integer NOT NULL,
    PRIMARY KEY (tenant, hash)
);

CREATE TABLE layer_files (
    tenant   text NOT NULL,
    hash     text NOT NULL,
    path     text NOT NULL,
    content  bytea NOT NULL,
    PRIMARY KEY (tenant, hash, path),
    FOREIGN KEY (tenant, hash) REFERENCES layer_contents ON DELETE CASCADE
);

CREATE TABLE layer_versions (
    tenant       text NOT NULL,
    name         text NOT NULL,
    version      integer NOT NULL,
    hash         text NOT NULL,
    description  text NOT NULL DEFAULT '',
    runtimes     text[] NOT NULL DEFAULT '{}', -- that may use it; none: all
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, name, version),
    FOREIGN KEY (tenant, name) REFERENCES layers ON DELETE CASCADE,
    FOREIGN KEY (tenant, hash) REFERENCES layer_contents DEFERRABLE INITIALLY DEFERRED
);
CREATE INDEX layer_versions_by_hash ON layer_versions (tenant, hash);

-- Which functions, and which of their versions, use what; kept by triggers, so no way of changing a function goes round
-- it. Judged at the commit, as function_secrets is.
CREATE TABLE function_layers (
    tenant            text NOT NULL,
    function_id       uuid NOT NULL,
    function_version  integer NOT NULL, -- 0: the function as it is
    layer             text NOT NULL,
    layer_version     integer NOT NULL,
    PRIMARY KEY (tenant, function_id, function_version, layer),
    FOREIGN KEY (tenant, function_id) REFERENCES functions ON DELETE CASCADE,
    CONSTRAINT function_layers_layer FOREIGN KEY (tenant, layer, layer_version) REFERENCES layer_versions
        DEFERRABLE INITIALLY DEFERRED
);
CREATE INDEX function_layers_by_layer ON function_layers (tenant, layer, layer_version);

CREATE FUNCTION use_layers(of_tenant text, of_function uuid, of_version integer, pins text[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    DELETE FROM public.function_layers
    WHERE tenant = of_tenant AND function_id = of_function AND function_version = of_version;
    -- A pin is name:version@hash
    INSERT INTO public.function_layers (tenant, function_id, function_version, layer, layer_version)
    SELECT of_tenant, of_function, of_version, split_part(pin, ':', 1), split_part(split_part(pin, '@', 1), ':', 2)::integer
    FROM unnest(pins) AS pin
$$;
REVOKE ALL ON FUNCTION use_layers(text, uuid, integer, text[]) FROM PUBLIC;

CREATE FUNCTION keep_function_layers() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    PERFORM public.use_layers(NEW.tenant, NEW.id, 0, NEW.layers);
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION keep_function_layers() FROM PUBLIC;
CREATE TRIGGER functions_have_layers AFTER INSERT ON functions
    FOR EACH ROW WHEN (NEW.layers <> '{}') EXECUTE FUNCTION keep_function_layers();
CREATE TRIGGER functions_use_layers AFTER UPDATE ON functions
    FOR EACH ROW WHEN (NEW.layers <> OLD.layers) EXECUTE FUNCTION keep_function_layers();

CREATE FUNCTION keep_version_layers() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        DELETE FROM public.function_layers
        WHERE tenant = OLD.tenant AND function_id = OLD.function_id AND function_version = OLD.version;
    ELSE
        PERFORM public.use_layers(NEW.tenant, NEW.function_id, NEW.version,
                                  ARRAY(SELECT jsonb_array_elements_text(NEW.settings -> 'layers')));
    END IF;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION keep_version_layers() FROM PUBLIC;
CREATE TRIGGER function_versions_use_layers AFTER INSERT ON function_versions
    FOR EACH ROW WHEN (NEW.settings -> 'layers' <> '[]') EXECUTE FUNCTION keep_version_layers();
CREATE TRIGGER function_versions_leave_layers AFTER DELETE ON function_versions
    FOR EACH ROW WHEN (OLD.settings -> 'layers' <> '[]') EXECUTE FUNCTION keep_version_layers();
