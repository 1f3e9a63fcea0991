-- name: put
-- A new policy, or another over the one that is there.
INSERT INTO function_ingress (tenant, namespace, name, ingress_callers, ingress_functions, ingress_allow, ingress_deny)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (tenant, namespace, name) DO UPDATE
SET ingress_callers = $4, ingress_functions = $5, ingress_allow = $6, ingress_deny = $7;

-- name: delete
-- A policy; whoever may call functions may call this one again.
-- index: function_ingress_pkey
DELETE FROM function_ingress WHERE tenant = $1 AND namespace = $2 AND name = $3;
