-- Functions have tags and docs; what is written in them, in names and in sources is found by its words; and they are
-- counted as they come and go.

ALTER TABLE functions ADD COLUMN tags jsonb NOT NULL DEFAULT '{}'; -- text by key
CREATE OR REPLACE FUNCTION versioned(f functions) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT to_jsonb(f) - ARRAY['tenant', 'namespace', 'name', 'id', 'halted', 'pending_version', 'pending_hash',
        'pending_handler', 'pending_error', 'version', 'created_at', 'updated_at', 'live_version', 'newest_version',
        'newest_code_version', 'kept_versions', 'tags']
$$;

-- How many functions there are, so that nobody needs to count them.
CREATE TABLE function_counts (
    tenant     text NOT NULL,
    namespace  text NOT NULL,
    runtime    text NOT NULL,
    functions  integer NOT NULL CHECK (functions >= 0),
    PRIMARY KEY (tenant, namespace, runtime),
    FOREIGN KEY (tenant, namespace) REFERENCES namespaces ON DELETE CASCADE
);
CREATE FUNCTION count_functions() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO public.function_counts AS counted (tenant, namespace, runtime, functions)
        SELECT tenant, namespace, runtime, count(*) FROM changed GROUP BY tenant, namespace, runtime
        ON CONFLICT (tenant, namespace, runtime) DO UPDATE SET functions = counted.functions + EXCLUDED.functions;
    ELSE
        UPDATE public.function_counts AS counted SET functions = counted.functions - gone.functions
        FROM (SELECT tenant, namespace, runtime, count(*) AS functions FROM changed GROUP BY tenant, namespace, runtime) AS gone
        WHERE counted.tenant = gone.tenant AND counted.namespace = gone.namespace AND counted.runtime = gone.runtime;
    END IF;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION count_functions() FROM PUBLIC;
CREATE TRIGGER functions_counted AFTER INSERT ON functions REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION count_functions();
CREATE TRIGGER functions_uncounted AFTER DELETE ON functions REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION count_functions();

-- What people write about a function.
CREATE TABLE function_docs (
    tenant      text NOT NULL,
    namespace   text NOT NULL,
    name        text NOT NULL, -- of the function
    content     text NOT NULL CHECK (octet_length(content) BETWEEN 1 AND 262144),
    version     bigint NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, namespace, name),
    FOREIGN KEY (tenant, namespace, name) REFERENCES functions (tenant, namespace, name) ON DELETE CASCADE
);

-- Links under which the docs of a function are read by whoever has them. The token is nowhere; what is kept is its hash.
CREATE TABLE doc_shares (
    tenant         text NOT NULL,
    namespace      text NOT NULL,
    function_name  text NOT NULL,
    id             uuid NOT NULL,
    title          text NOT NULL DEFAULT '',
    token_hash     bytea NOT NULL UNIQUE CHECK (octet_length(token_hash) = 32),
    created_by     text NOT NULL, -- a subject
    expires_at     timestamptz NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, namespace, function_name, id),
    FOREIGN KEY (tenant, namespace, function_name) REFERENCES functions (tenant, namespace, name) ON DELETE CASCADE
);

-- The words of functions: of names, descriptions, tags, docs and sources. Each begins with a mark of its scope, so that a
-- look-up meets the words of no other scope, and costs nothing for them.
CREATE TABLE function_search (
    tenant     text NOT NULL,
    namespace  text NOT NULL,
    name       text NOT NULL, -- of the function
    runtime    text NOT NULL,
    document   tsvector NOT NULL,
    PRIMARY KEY (tenant, namespace, name),
    FOREIGN KEY (tenant, namespace, name) REFERENCES functions (tenant, namespace, name) ON DELETE CASCADE
);
CREATE INDEX function_search_document ON function_search USING gin (document);

CREATE FUNCTION scope_mark(of_tenant text, of_namespace text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT left(md5(of_tenant || '/' || of_namespace), 8)
$$;
-- A tag, and its key alone, as words.
CREATE FUNCTION tag_word(key text, tagged text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT '#' || md5(key || coalesce('=' || tagged, ''))
$$;
CREATE FUNCTION words_of(given text) RETURNS SETOF text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT DISTINCT left(lexeme, 40)
    FROM unnest(to_tsvector('pg_catalog.simple', translate(given, $q$!"#$%&'()*+,-./:;<=>?@[\]^_`{|}~$q$, repeat(' ', 32))))
$$;
-- The words of what is text; the first 64 KiB of it.
CREATE FUNCTION readable(content bytea) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    head bytea := substr(content, 1, 65536);
BEGIN
    IF position('\x00'::bytea IN head) > 0 THEN
        RETURN '';
    END IF;
    FOR cut IN 0..3 LOOP -- the head may end within a character
        BEGIN
            RETURN convert_from(substr(head, 1, length(head) - cut), 'UTF8');
        EXCEPTION WHEN character_not_in_repertoire OR untranslatable_character THEN
            EXIT WHEN length(content) <= 65536;
        END;
    END LOOP;
    RETURN '';
END $$;
-- Writes anew what the words of a function are; called with each change of them. 5,000 of its source are enough to find it.
CREATE FUNCTION index_function(of_tenant text, of_namespace text, of_name text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
DECLARE
    f public.functions;
    mark text := public.scope_mark(of_tenant, of_namespace);
    source text := '';
    file record;
BEGIN
    SELECT * INTO f FROM public.functions WHERE tenant = of_tenant AND namespace = of_namespace AND name = of_name;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    FOR file IN SELECT path, content FROM public.function_files
                WHERE tenant = of_tenant AND function_id = f.id AND version = coalesce(f.pending_version, f.code_version)
                ORDER BY path LOOP
        source := source || ' ' || file.path || ' ' || public.readable(file.content);
        EXIT WHEN octet_length(source) > 262144;
    END LOOP;
    INSERT INTO public.function_search AS indexed (tenant, namespace, name, runtime, document)
    SELECT of_tenant, of_namespace, of_name, f.runtime, array_to_tsvector(array_agg(DISTINCT mark || word))
    FROM (
        SELECT public.words_of(f.name || ' ' || regexp_replace(f.name, '([a-z0-9])([A-Z])', '\1 \2', 'g')
                               || ' ' || f.description || ' ' || f.runtime) AS word
        UNION ALL
        SELECT public.words_of(tag.key || ' ' || tag.value) FROM jsonb_each_text(f.tags) AS tag
        UNION ALL
        SELECT public.tag_word(tag.key, whole.tagged)
        FROM jsonb_each_text(f.tags) AS tag, LATERAL (VALUES (tag.value), (NULL)) AS whole (tagged)
        UNION ALL
        SELECT public.words_of(content) FROM public.function_docs
        WHERE tenant = of_tenant AND namespace = of_namespace AND name = of_name
        UNION ALL
        (SELECT word FROM public.words_of(source) AS word LIMIT 5000)
    ) AS found
    ON CONFLICT (tenant, namespace, name) DO UPDATE SET document = EXCLUDED.document, runtime = EXCLUDED.runtime
    WHERE indexed.document IS DISTINCT FROM EXCLUDED.document;
END $$;
-- What finds the functions of a scope that have words beginning with each of those of `search`, and a tag; both may be null.
CREATE FUNCTION function_query(of_tenant text, of_namespace text, search text, tag_key text, tagged text) RETURNS tsquery
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, public AS $$
    SELECT string_agg(quote_literal(public.scope_mark(of_tenant, of_namespace) || term.word) || term.kind, ' & ')::tsquery
    FROM (
        SELECT public.words_of(search) AS word, ':*' AS kind
        UNION ALL
        SELECT public.tag_word(tag_key, tagged), '' WHERE tag_key IS NOT NULL
    ) AS term
$$;

INSERT INTO function_counts (tenant, namespace, runtime, functions)
    SELECT tenant, namespace, runtime, count(*) FROM functions GROUP BY tenant, namespace, runtime;
SELECT index_function(tenant, namespace, name) FROM functions;
