-- Sessions of people who logged in at a provider: which of its sessions they are, and what it is shown when they end. A row
-- is there before its session, which begins with the code that the browser carries; they go together.

CREATE TABLE provider_sessions (
    tenant      text NOT NULL,
    id          uuid NOT NULL, -- of the session
    user_name   text NOT NULL,
    provider    text NOT NULL, -- its name in the configuration
    issuer      text NOT NULL CHECK (length(issuer) <= 2000),
    subject     text NOT NULL CHECK (length(subject) <= 255),
    sid         text NOT NULL CHECK (length(sid) <= 255), -- what the provider calls its own session; '' if it does not say
    id_token    text NOT NULL, -- sealed; it is shown to the provider at a logout
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, user_name) REFERENCES users ON DELETE CASCADE
);
CREATE INDEX provider_sessions_by_user ON provider_sessions (tenant, user_name);
CREATE INDEX provider_sessions_by_subject ON provider_sessions (issuer, subject);
CREATE INDEX provider_sessions_by_sid ON provider_sessions (issuer, sid) WHERE sid <> '';
CREATE INDEX provider_sessions_ended ON provider_sessions (expires_at);

CREATE FUNCTION forget_provider_session() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    DELETE FROM public.provider_sessions WHERE tenant = OLD.tenant AND id = OLD.id;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION forget_provider_session() FROM PUBLIC;
CREATE TRIGGER sessions_of_providers AFTER DELETE ON sessions FOR EACH ROW EXECUTE FUNCTION forget_provider_session();
