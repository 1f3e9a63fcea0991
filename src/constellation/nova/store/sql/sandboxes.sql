-- name: lock_tenant
-- Lets nobody else make a sandbox of a tenant until the transaction ends: what it has is counted before.
SELECT pg_advisory_xact_lock(hashtextextended('sandboxes ' || $1, 0));

-- name: count_living
-- What a tenant has.
-- index: sandboxes_living
SELECT count(*) AS count, coalesce(sum(memory_mb + disk_mb), 0)::bigint AS memory_mb
FROM sandboxes
WHERE tenant = $1 AND state <> 'ended';

-- name: insert
-- One that is being made; $14 is how long it lives.
INSERT INTO sandboxes (tenant, namespace, id, template, memory_mb, cpu_millis, disk_mb, processes, idle_timeout_s, on_idle,
                       env, ports, forked_from, expires_at, node, backend, image)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, now() + make_interval(secs => $14), $15, $16, $17)
RETURNING tenant, namespace, id, template, backend, image, state, reason, memory_mb, cpu_millis, disk_mb, processes, idle_timeout_s, on_idle,
          env, ports, forked_from, node, generation, created_at, used_at, expires_at, ended_at;

-- name: get
-- One of a scope.
-- index: sandboxes_by_namespace or sandboxes_pkey
SELECT tenant, namespace, id, template, backend, image, state, reason, memory_mb, cpu_millis, disk_mb, processes, idle_timeout_s, on_idle,
       env, ports, forked_from, node, generation, created_at, used_at, expires_at, ended_at
FROM sandboxes
WHERE tenant = $1 AND namespace = $2 AND id = $3;

-- name: list
-- Those of a scope, newest first; $3 is a state, or null for all that have not ended.
-- index: sandboxes_by_namespace
SELECT tenant, namespace, id, template, backend, image, state, reason, memory_mb, cpu_millis, disk_mb, processes, idle_timeout_s, on_idle,
       env, ports, forked_from, node, generation, created_at, used_at, expires_at, ended_at
FROM sandboxes
WHERE tenant = $1 AND namespace = $2 AND (state = $3 OR $3::text IS NULL AND state <> 'ended')
ORDER BY id DESC
LIMIT $4 OFFSET $5;

-- name: count
-- How many `list` has in all.
-- index: sandboxes_by_namespace
SELECT count(*) FROM sandboxes
WHERE tenant = $1 AND namespace = $2 AND (state = $3 OR $3::text IS NULL AND state <> 'ended');

-- name: move
-- Into state $4, if it is in one of $5 and its comet is still the one that asks.
-- index: sandboxes_pkey
UPDATE sandboxes
SET state = $4, reason = $6, used_at = CASE WHEN $4 = 'running' THEN now() ELSE used_at END,
    ended_at = CASE WHEN $4 = 'ended' THEN now() END
WHERE tenant = $1 AND id = $2 AND generation = $3 AND state = ANY($5::text[])
RETURNING tenant, namespace, id, template, backend, image, state, reason, memory_mb, cpu_millis, disk_mb, processes, idle_timeout_s, on_idle,
          env, ports, forked_from, node, generation, created_at, used_at, expires_at, ended_at;

-- name: extend
-- A new end, and a new time without use; either may be null.
-- index: sandboxes_by_namespace or sandboxes_pkey
UPDATE sandboxes
SET expires_at = coalesce(now() + make_interval(secs => $4), expires_at), idle_timeout_s = coalesce($5, idle_timeout_s),
    used_at = now()
WHERE tenant = $1 AND namespace = $2 AND id = $3 AND state <> 'ended'
RETURNING tenant, namespace, id, template, backend, image, state, reason, memory_mb, cpu_millis, disk_mb, processes, idle_timeout_s, on_idle,
          env, ports, forked_from, node, generation, created_at, used_at, expires_at, ended_at;

-- name: expose
-- One more port; one that is there stays once.
-- index: sandboxes_by_namespace or sandboxes_pkey
UPDATE sandboxes
SET ports = CASE WHEN $4 = ANY(ports) THEN ports ELSE ports || $4::integer END
WHERE tenant = $1 AND namespace = $2 AND id = $3 AND state <> 'ended' AND (cardinality(ports) < $5 OR $4 = ANY(ports))
RETURNING tenant, namespace, id, template, backend, image, state, reason, memory_mb, cpu_millis, disk_mb, processes, idle_timeout_s, on_idle,
          env, ports, forked_from, node, generation, created_at, used_at, expires_at, ended_at;

-- name: close_port
-- One port less.
-- index: sandboxes_by_namespace or sandboxes_pkey
UPDATE sandboxes SET ports = array_remove(ports, $4::integer)
WHERE tenant = $1 AND namespace = $2 AND id = $3 AND state <> 'ended'
RETURNING tenant, namespace, id, template, backend, image, state, reason, memory_mb, cpu_millis, disk_mb, processes, idle_timeout_s, on_idle,
          env, ports, forked_from, node, generation, created_at, used_at, expires_at, ended_at;

-- name: used
-- When sandboxes were used last.
-- index: sandboxes_by_node
UPDATE sandboxes SET used_at = greatest(sandboxes.used_at, new.used_at)
FROM unnest($2::uuid[], $3::timestamptz[]) AS new (id, used_at)
WHERE sandboxes.node = $1 AND sandboxes.state <> 'ended' AND sandboxes.id = new.id;

-- name: adopt
-- All that a node has become those of the comet that runs there now.
-- index: sandboxes_by_node
UPDATE sandboxes SET generation = generation + 1
WHERE node = $1 AND state <> 'ended'
RETURNING tenant, namespace, id, template, backend, image, state, reason, memory_mb, cpu_millis, disk_mb, processes, idle_timeout_s, on_idle,
          env, ports, forked_from, node, generation, created_at, used_at, expires_at, ended_at;

-- name: of_node
-- All that a node has.
-- index: sandboxes_by_node
SELECT tenant, namespace, id, template, backend, image, state, reason, memory_mb, cpu_millis, disk_mb, processes, idle_timeout_s, on_idle,
       env, ports, forked_from, node, generation, created_at, used_at, expires_at, ended_at
FROM sandboxes
WHERE node = $1 AND state <> 'ended';

-- name: suspended
-- Those of a node whose tenant is suspended.
-- index: sandboxes_by_node
SELECT sandboxes.id
FROM sandboxes
JOIN tenants ON tenants.id = sandboxes.tenant
WHERE sandboxes.node = $1 AND sandboxes.state <> 'ended' AND tenants.status = 'suspended';

-- name: now
-- The database's time, by which sandboxes end.
SELECT now();

-- name: forget
-- Those that ended long ago.
-- index: sandboxes_ended
DELETE FROM sandboxes WHERE state = 'ended' AND ended_at < now() - make_interval(secs => $1);
