-- Custom domains and the routes that the gateway serves under them.

-- A host is one tenant's in the whole platform; so are all names that a wildcard covers, which is checked when a host is
-- claimed, under the lock of the change log.
CREATE TABLE domains (
    tenant      text NOT NULL,
    namespace   text NOT NULL,
    host        text NOT NULL CHECK (host ~ '^(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)+$' AND length(host) <= 253),
    cover       text NOT NULL GENERATED ALWAYS AS (regexp_replace(host, '^[^.]*', '*')) STORED,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, namespace, host),
    FOREIGN KEY (tenant, namespace) REFERENCES namespaces ON DELETE CASCADE
);
CREATE UNIQUE INDEX domains_by_host ON domains (host);
CREATE INDEX domains_by_cover ON domains (cover);

CREATE TABLE gateway_routes (
    tenant         text NOT NULL,
    namespace      text NOT NULL,
    id             uuid NOT NULL,
    host           text NOT NULL,
    path           text NOT NULL CHECK (length(path) BETWEEN 1 AND 512),
    shape          text NOT NULL, -- the path without the names in it
    methods        text[] NOT NULL DEFAULT '{}'
                   CHECK (methods <@ '{GET,HEAD,POST,PUT,PATCH,DELETE,OPTIONS}'::text[]), -- none: any
    function_name  text NOT NULL,
    auth           text NOT NULL CHECK (auth IN ('none', 'api_key', 'any')),
    enabled        boolean NOT NULL DEFAULT true,
    version        bigint NOT NULL DEFAULT 1,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, namespace, host) REFERENCES domains ON DELETE CASCADE,
    FOREIGN KEY (tenant, namespace, function_name) REFERENCES functions (tenant, namespace, name) ON DELETE CASCADE
);
CREATE INDEX gateway_routes_by_host ON gateway_routes (tenant, namespace, host, shape);
CREATE INDEX gateway_routes_by_function ON gateway_routes (tenant, namespace, function_name);

-- A change of a route is one of its domain: gateways read a domain with all its routes.
CREATE FUNCTION record_domain_change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    changed jsonb := to_jsonb(coalesce(NEW, OLD));
BEGIN
    INSERT INTO public.changes (seq, kind, tenant, namespace, name)
    VALUES (nextval('public.changes_seq'), 'domain', changed->>'tenant', changed->>'namespace', changed->>'host');
    NOTIFY changes;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION record_domain_change() FROM PUBLIC;
CREATE TRIGGER domains_before_change BEFORE INSERT OR UPDATE OR DELETE ON domains EXECUTE FUNCTION before_change();
CREATE TRIGGER gateway_routes_before_change BEFORE INSERT OR UPDATE OR DELETE ON gateway_routes EXECUTE FUNCTION before_change();
CREATE TRIGGER domains_changed AFTER INSERT OR UPDATE OR DELETE ON domains
    FOR EACH ROW EXECUTE FUNCTION record_domain_change();
CREATE TRIGGER gateway_routes_changed AFTER INSERT OR UPDATE OR DELETE ON gateway_routes
    FOR EACH ROW EXECUTE FUNCTION record_domain_change();
