-- Volumes: directories of a namespace that outlive instances; and who mounts which.

ALTER TABLE functions ADD COLUMN mounts jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_array_length(mounts) <= 8); -- {volume, path, read_only}
-- What was made before had none.
UPDATE function_versions SET settings = settings || '{"mounts": []}';

CREATE TABLE volumes (
    tenant       text NOT NULL,
    namespace    text NOT NULL,
    name         text NOT NULL CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$'),
    id           uuid NOT NULL, -- names its files on comet's host
    size_mb      integer NOT NULL CHECK (size_mb BETWEEN 8 AND 10240),
    access       text NOT NULL CHECK (access IN ('read_write', 'read_only', 'read_write_once')),
    description  text NOT NULL DEFAULT '',
    version      bigint NOT NULL DEFAULT 1,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, namespace, name),
    FOREIGN KEY (tenant, namespace) REFERENCES namespaces ON DELETE CASCADE
);

-- Which functions, and which of their versions, mount what; kept as function_layers is.
CREATE TABLE function_volumes (
    tenant            text NOT NULL,
    namespace         text NOT NULL,
    volume            text NOT NULL,
    function_id       uuid NOT NULL,
    function_version  integer NOT NULL, -- 0: the function as it is
    is_writing        boolean NOT NULL,
    PRIMARY KEY (tenant, namespace, volume, function_id, function_version),
    CONSTRAINT function_volumes_volume FOREIGN KEY (tenant, namespace, volume) REFERENCES volumes
        DEFERRABLE INITIALLY DEFERRED,
    FOREIGN KEY (tenant, function_id) REFERENCES functions ON DELETE CASCADE
);
CREATE INDEX function_volumes_by_function ON function_volumes (tenant, function_id, function_version);

-- Changes of functions and volumes wait for each other (before_change), so nobody gets between the look and the write.
CREATE FUNCTION use_volumes(of_tenant text, of_function uuid, of_version integer, wanted jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    DELETE FROM public.function_volumes
    WHERE tenant = of_tenant AND function_id = of_function AND function_version = of_version;
    INSERT INTO public.function_volumes (tenant, namespace, volume, function_id, function_version, is_writing)
    SELECT of_tenant, f.namespace, mount ->> 'volume', of_function, of_version, NOT (mount ->> 'read_only')::boolean
    FROM public.functions AS f CROSS JOIN LATERAL jsonb_array_elements(wanted) AS mount
    WHERE f.tenant = of_tenant AND f.id = of_function;
    IF of_version = 0 AND EXISTS (
        SELECT FROM public.function_volumes AS mine
        JOIN public.volumes AS v ON v.tenant = mine.tenant AND v.namespace = mine.namespace AND v.name = mine.volume
        JOIN public.function_volumes AS theirs ON theirs.tenant = mine.tenant AND theirs.namespace = mine.namespace
            AND theirs.volume = mine.volume AND theirs.function_version = 0 AND theirs.function_id <> of_function
        WHERE mine.tenant = of_tenant AND mine.function_id = of_function AND mine.function_version = 0
          AND v.access = 'read_write_once'
    ) THEN
        RAISE EXCEPTION 'a volume has another function' USING ERRCODE = 'check_violation', CONSTRAINT = 'function_volumes_once';
    END IF;
END $$;
REVOKE ALL ON FUNCTION use_volumes(text, uuid, integer, jsonb) FROM PUBLIC;

CREATE FUNCTION keep_function_volumes() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    PERFORM public.use_volumes(NEW.tenant, NEW.id, 0, NEW.mounts);
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION keep_function_volumes() FROM PUBLIC;
CREATE TRIGGER functions_have_volumes AFTER INSERT ON functions
    FOR EACH ROW WHEN (NEW.mounts <> '[]') EXECUTE FUNCTION keep_function_volumes();
CREATE TRIGGER functions_use_volumes AFTER UPDATE ON functions
    FOR EACH ROW WHEN (NEW.mounts <> OLD.mounts) EXECUTE FUNCTION keep_function_volumes();

CREATE FUNCTION keep_version_volumes() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        DELETE FROM public.function_volumes
        WHERE tenant = OLD.tenant AND function_id = OLD.function_id AND function_version = OLD.version;
    ELSE
        PERFORM public.use_volumes(NEW.tenant, NEW.function_id, NEW.version, NEW.settings -> 'mounts');
    END IF;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION keep_version_volumes() FROM PUBLIC;
CREATE TRIGGER function_versions_use_volumes AFTER INSERT ON function_versions
    FOR EACH ROW WHEN (NEW.settings -> 'mounts' <> '[]') EXECUTE FUNCTION keep_version_volumes();
CREATE TRIGGER function_versions_leave_volumes AFTER DELETE ON function_versions
    FOR EACH ROW WHEN (OLD.settings -> 'mounts' <> '[]') EXECUTE FUNCTION keep_version_volumes();
CREATE TRIGGER volumes_before_change BEFORE INSERT OR UPDATE OR DELETE ON volumes EXECUTE FUNCTION before_change();
