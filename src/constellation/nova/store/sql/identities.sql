-- name: find
-- The user that a person is, by what its provider calls it.
-- index: user_identities_tenant_issuer_subject_key
SELECT u.tenant, u.name, u.display_name, u.is_platform, u.enabled, u.version, u.created_at, u.updated_at
FROM user_identities AS i
JOIN users AS u ON u.tenant = i.tenant AND u.name = i.user_name
WHERE i.tenant = $1 AND i.issuer = $2 AND i.subject = $3;

-- name: expect
-- That a user logs in at a provider; whom that provider means by its name is not known yet.
INSERT INTO user_identities (tenant, user_name, issuer) VALUES ($1, $2, $3);

-- name: meet
-- Who a user that was expected is.
-- index: user_identities_pkey or user_identities_tenant_issuer_subject_key
UPDATE user_identities SET subject = $4
WHERE tenant = $1 AND user_name = $2 AND issuer = $3 AND subject IS NULL
RETURNING user_name;

-- name: insert
-- Who a new user is.
INSERT INTO user_identities (tenant, user_name, issuer, subject) VALUES ($1, $2, $3, $4);

-- name: is_bound
-- Has a subject any role, though there may be no such user yet.
-- index: role_bindings_tenant_subject_role_effect_namespace_function_key
SELECT EXISTS (SELECT FROM role_bindings WHERE tenant = $1 AND subject = $2);

-- name: given
-- The roles that a provider gave to a user.
-- index: role_bindings_tenant_subject_role_effect_namespace_function_key
SELECT id, role FROM role_bindings WHERE tenant = $1 AND subject = $2 AND created_by = $3;

-- name: give
-- A role for all functions of all namespaces, unless the user has it.
INSERT INTO role_bindings (tenant, id, subject, role, created_by) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING;

-- name: take
-- Roles that a provider does not give any more.
-- index: role_bindings_tenant_subject_role_effect_namespace_function_key or role_bindings_by_role
DELETE FROM role_bindings WHERE tenant = $1 AND subject = $2 AND created_by = $3 AND role = ANY ($4::text[]);
