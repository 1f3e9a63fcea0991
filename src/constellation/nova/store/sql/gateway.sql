-- name: serialize
-- Lets one change of configuration at a time through; the triggers of the change log take the same lock.
SELECT lock_changes();

-- name: claimed
-- Whether a host ($2), or a name that the wildcard $2 covers, or the wildcard that covers it ($3), is of another tenant.
-- index: domains_by_cover
SELECT EXISTS (
    SELECT FROM domains
    WHERE cover = $3 AND tenant <> $1 AND (host = $2 OR host = $3 OR $2 = $3)
);

-- name: insert_domain
-- A new domain.
INSERT INTO domains (tenant, namespace, host) VALUES ($1, $2, $3)
RETURNING tenant, namespace, host, created_at;

-- name: count_tenant_domains
-- How many domains a tenant has.
-- index: domains_pkey
SELECT count(*) FROM domains WHERE tenant = $1;

-- name: get_domain
-- One domain of a scope.
-- index: domains_pkey
SELECT tenant, namespace, host, created_at FROM domains WHERE tenant = $1 AND namespace = $2 AND host = $3;

-- name: list_domains
-- The domains of a scope by host.
-- index: domains_pkey
SELECT tenant, namespace, host, created_at
FROM domains
WHERE tenant = $1 AND namespace = $2
ORDER BY host
LIMIT $3 OFFSET $4;

-- name: count_domains
-- How many domains a scope has.
-- index: domains_pkey
SELECT count(*) FROM domains WHERE tenant = $1 AND namespace = $2;

-- name: delete_domain
-- A domain; its routes go with it.
-- index: domains_pkey
DELETE FROM domains WHERE tenant = $1 AND namespace = $2 AND host = $3;

-- name: insert_route
-- A new route.
INSERT INTO gateway_routes (tenant, namespace, id, host, path, shape, methods, function_name, auth, enabled, policy, qualifier)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
RETURNING tenant, namespace, id, host, path, shape, methods, function_name, auth, enabled, policy, qualifier, version, created_at,
    updated_at;

-- name: rival
-- Another route than $4 of the same domain that serves the same paths and one of the methods; null when there is none.
-- index: gateway_routes_by_host
SELECT id
FROM gateway_routes
WHERE tenant = $1 AND namespace = $2 AND host = $3 AND shape = $5 AND id <> $4
  AND (methods = $6::text[] OR methods && $6::text[])
LIMIT 1;

-- name: count_host_routes
-- How many routes a domain has.
-- index: gateway_routes_by_host
SELECT count(*) FROM gateway_routes WHERE tenant = $1 AND namespace = $2 AND host = $3;

-- name: get_route
-- One route of a scope.
-- index: gateway_routes_pkey
SELECT tenant, namespace, id, host, path, shape, methods, function_name, auth, enabled, policy, qualifier, version, created_at,
    updated_at
FROM gateway_routes
WHERE tenant = $1 AND id = $3 AND namespace = $2;

-- name: list_routes
-- The routes of a scope by host and path; $3 is a host or null, $4 a function or null.
-- index: gateway_routes_by_host or gateway_routes_by_function
SELECT tenant, namespace, id, host, path, shape, methods, function_name, auth, enabled, policy, qualifier, version, created_at,
    updated_at
FROM gateway_routes
WHERE tenant = $1 AND namespace = $2 AND ($3::text IS NULL OR host = $3) AND ($4::text IS NULL OR function_name = $4)
ORDER BY host, shape, id
LIMIT $5 OFFSET $6;

-- name: count_routes
-- How many routes `list_routes` has in all.
-- index: gateway_routes_by_host or gateway_routes_by_function
SELECT count(*)
FROM gateway_routes
WHERE tenant = $1 AND namespace = $2 AND ($3::text IS NULL OR host = $3) AND ($4::text IS NULL OR function_name = $4);

-- name: update_route
-- A route that is still at row version $11.
-- index: gateway_routes_pkey
UPDATE gateway_routes
SET path = $4, shape = $5, methods = $6, function_name = $7, auth = $8, enabled = $9, policy = $10, qualifier = $12,
    version = version + 1, updated_at = now()
WHERE tenant = $1 AND id = $3 AND namespace = $2 AND version = $11
RETURNING tenant, namespace, id, host, path, shape, methods, function_name, auth, enabled, policy, qualifier, version, created_at,
    updated_at;

-- name: delete_route
-- A route.
-- index: gateway_routes_pkey
DELETE FROM gateway_routes WHERE tenant = $1 AND id = $3 AND namespace = $2;

-- name: domains_after
-- Domains of all tenants by host, for gateways.
-- index: domains_by_host
SELECT d.tenant, d.namespace, d.host, d.created_at, t.status AS tenant_status
FROM domains AS d
JOIN tenants AS t ON t.id = d.tenant
WHERE d.host > $1
ORDER BY d.host
LIMIT $2;

-- name: domain_at
-- The domain of a host, whosever it is, for gateways.
-- index: domains_by_host
SELECT d.tenant, d.namespace, d.host, d.created_at, t.status AS tenant_status
FROM domains AS d
JOIN tenants AS t ON t.id = d.tenant
WHERE d.host = $1;

-- name: routes_at
-- The enabled routes of a domain.
-- index: gateway_routes_by_host
SELECT r.tenant, r.namespace, r.id, r.host, r.path, r.shape, r.methods, r.function_name, r.auth, r.enabled, r.policy, r.qualifier,
    r.version, r.created_at, r.updated_at,
    coalesce((SELECT a.is_sticky
              FROM functions AS f
              JOIN function_aliases AS a ON a.tenant = f.tenant AND a.function_id = f.id AND a.name = r.qualifier
              WHERE f.tenant = r.tenant AND f.namespace = r.namespace AND f.name = r.function_name), false) AS is_sticky
FROM gateway_routes AS r
WHERE r.tenant = $1 AND r.namespace = $2 AND r.host = $3 AND r.enabled
ORDER BY r.shape, r.id;
