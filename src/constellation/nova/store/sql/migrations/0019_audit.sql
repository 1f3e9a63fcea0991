-- Who changed what, and who was refused: written in batches, never changed, forgotten when their time is up.

CREATE TABLE audit (
    tenant      text NOT NULL, -- empty: of nobody who is known
    namespace   text NOT NULL,
    id          uuid NOT NULL,
    actor       text NOT NULL, -- empty: unknown
    action      text NOT NULL, -- the operation of the route
    method      text NOT NULL,
    resource    text NOT NULL, -- the path, and the name of what was made
    fields      text[] NOT NULL, -- of the request's body: which, never what
    outcome     text NOT NULL CHECK (outcome IN ('succeeded', 'refused', 'failed', 'unknown')),
    status      integer NOT NULL, -- of HTTP; 499: the caller left before the answer
    code        text NOT NULL, -- of the problem, where the gateway itself said no
    request_id  text NOT NULL,
    peer        text NOT NULL, -- address
    user_agent  text NOT NULL,
    count       integer NOT NULL DEFAULT 1, -- of refusals alike that came at once
    PRIMARY KEY (tenant, id)
);
CREATE INDEX audit_by_time ON audit (id);
CREATE INDEX audit_by_actor ON audit (tenant, actor, id);

-- Forgets up to `most` rows older than `keep` days; says how many.
CREATE FUNCTION forget_audit(keep integer, most integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    WITH gone AS (
        DELETE FROM public.audit
        WHERE ctid = ANY (ARRAY(SELECT ctid FROM public.audit
                                WHERE id < public.uuid7_floor(now() - make_interval(days => keep)) ORDER BY id LIMIT most))
        RETURNING 1
    )
    SELECT count(*) FROM gone
$$;
REVOKE ALL ON FUNCTION forget_audit(integer, integer) FROM PUBLIC;
