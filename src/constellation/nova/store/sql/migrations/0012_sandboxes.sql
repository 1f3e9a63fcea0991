-- Interactive sandboxes: what they are, which comet has each, and in which state.

CREATE TABLE sandboxes (
    tenant          text NOT NULL,
    namespace       text NOT NULL,
    id              uuid NOT NULL,
    template        text NOT NULL,
    state           text NOT NULL DEFAULT 'creating'
                    CHECK (state IN ('creating', 'running', 'paused', 'ending', 'ended')),
    reason          text NOT NULL DEFAULT '',
    memory_mb       integer NOT NULL CHECK (memory_mb BETWEEN 32 AND 65536),
    cpu_millis      integer NOT NULL CHECK (cpu_millis BETWEEN 10 AND 64000),
    disk_mb         integer NOT NULL CHECK (disk_mb BETWEEN 1 AND 65536),
    processes       integer NOT NULL CHECK (processes BETWEEN 16 AND 4096),
    idle_timeout_s  double precision NOT NULL CHECK (idle_timeout_s >= 0),
    on_idle         text NOT NULL CHECK (on_idle IN ('pause', 'remove')),
    env             jsonb NOT NULL DEFAULT '{}',
    ports           integer[] NOT NULL DEFAULT '{}' CHECK (cardinality(ports) <= 32),
    forked_from     uuid,
    node            text NOT NULL,
    generation      bigint NOT NULL DEFAULT 0, -- fencing: each comet that takes it over takes the next
    created_at      timestamptz NOT NULL DEFAULT now(),
    used_at         timestamptz NOT NULL DEFAULT now(),
    expires_at      timestamptz NOT NULL,
    ended_at        timestamptz,
    CHECK ((state = 'ended') = (ended_at IS NOT NULL)),
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, namespace) REFERENCES namespaces ON DELETE CASCADE
);
CREATE INDEX sandboxes_by_namespace ON sandboxes (tenant, namespace, id DESC);
CREATE INDEX sandboxes_living ON sandboxes (tenant) WHERE state <> 'ended';
CREATE INDEX sandboxes_by_node ON sandboxes (node) WHERE state <> 'ended';
CREATE INDEX sandboxes_ended ON sandboxes (ended_at) WHERE state = 'ended';
