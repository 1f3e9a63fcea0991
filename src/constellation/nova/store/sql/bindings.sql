-- name: insert
-- A new binding.
INSERT INTO role_bindings (tenant, id, subject, role, effect, namespace, functions, created_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
RETURNING tenant, id, subject, role, effect, namespace, functions, created_by, created_at;

-- name: get
-- One binding.
-- index: role_bindings_pkey or role_bindings_by_role or role_bindings_tenant_subject_role_effect_namespace_function_key
SELECT tenant, id, subject, role, effect, namespace, functions, created_by, created_at
FROM role_bindings
WHERE tenant = $1 AND id = $2;

-- name: list
-- The bindings of a tenant, newest first; of one subject when $2 is not null.
-- index: role_bindings_pkey or role_bindings_by_role or role_bindings_tenant_subject_role_effect_namespace_function_key
SELECT tenant, id, subject, role, effect, namespace, functions, created_by, created_at
FROM role_bindings
WHERE tenant = $1 AND ($2::text IS NULL OR subject = $2)
ORDER BY id DESC
LIMIT $3 OFFSET $4;

-- name: count
-- How many bindings `list` has in all.
-- index: role_bindings_pkey or role_bindings_by_role or role_bindings_tenant_subject_role_effect_namespace_function_key
SELECT count(*) FROM role_bindings WHERE tenant = $1 AND ($2::text IS NULL OR subject = $2);

-- name: grants
-- What a subject's bindings come to: the role's permissions when it is one of the tenant's own, else null.
-- index: role_bindings_tenant_subject_role_effect_namespace_function_key
SELECT b.role, b.effect, b.namespace, b.functions, r.permissions
FROM role_bindings AS b
LEFT JOIN roles AS r ON r.tenant = b.tenant AND r.name = b.role
WHERE b.tenant = $1 AND b.subject = $2;

-- name: delete
-- A binding.
-- index: role_bindings_pkey or role_bindings_by_role or role_bindings_tenant_subject_role_effect_namespace_function_key
DELETE FROM role_bindings WHERE tenant = $1 AND id = $2;

-- name: delete_of
-- Every binding of a subject that is gone.
-- index: role_bindings_tenant_subject_role_effect_namespace_function_key
DELETE FROM role_bindings WHERE tenant = $1 AND subject = $2;

-- name: has_platform_admin
-- Whether anybody is left who administers the platform, without a denial.
SELECT EXISTS (
    SELECT FROM api_keys AS k
    WHERE k.is_platform AND k.enabled AND k.role = 'admin' AND (k.expires_at IS NULL OR k.expires_at > now())
      AND NOT EXISTS (SELECT FROM role_bindings AS b
                      WHERE b.tenant = k.tenant AND b.subject = 'platform-key:' || k.name AND b.effect = 'deny')
) OR EXISTS (
    SELECT FROM users AS u
    WHERE u.is_platform AND u.enabled
      AND EXISTS (SELECT FROM role_bindings AS b
                  WHERE b.tenant = u.tenant AND b.subject = 'platform-user:' || u.name AND b.effect = 'allow'
                    AND b.role = 'admin' AND b.namespace = '*' AND b.functions = '{}')
      AND NOT EXISTS (SELECT FROM role_bindings AS b
                      WHERE b.tenant = u.tenant AND b.subject = 'platform-user:' || u.name AND b.effect = 'deny')
);
