-- How functions are reached by their URLs. A function without a row has the defaults of the columns.

CREATE TABLE function_urls (
    tenant             text NOT NULL,
    namespace          text NOT NULL,
    name               text NOT NULL, -- of the function
    enabled            boolean NOT NULL DEFAULT true,
    auth               text NOT NULL DEFAULT 'key' CHECK (auth IN ('key', 'none')),
    invoke_mode        text NOT NULL DEFAULT 'buffered' CHECK (invoke_mode IN ('buffered', 'stream')),
    allow_origins      text[] NOT NULL DEFAULT '{}' CHECK (cardinality(allow_origins) <= 64),
    allow_methods      text[] NOT NULL DEFAULT '{*}' CHECK (cardinality(allow_methods) <= 64),
    allow_headers      text[] NOT NULL DEFAULT '{}' CHECK (cardinality(allow_headers) <= 64),
    expose_headers     text[] NOT NULL DEFAULT '{}' CHECK (cardinality(expose_headers) <= 64),
    allow_credentials  boolean NOT NULL DEFAULT false,
    max_age_s          integer NOT NULL DEFAULT 0 CHECK (max_age_s BETWEEN 0 AND 86400),
    updated_at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, namespace, name),
    FOREIGN KEY (tenant, namespace, name) REFERENCES functions (tenant, namespace, name) ON DELETE CASCADE
);
CREATE TRIGGER function_urls_before_change BEFORE INSERT OR UPDATE OR DELETE ON function_urls
    EXECUTE FUNCTION before_change();
CREATE TRIGGER function_urls_changed AFTER INSERT OR UPDATE OR DELETE ON function_urls
    FOR EACH ROW EXECUTE FUNCTION record_change('function');
