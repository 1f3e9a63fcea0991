-- name: get
-- The settings of a function's URL; all null when nobody set them, no row when there is no function.
-- index: functions_tenant_namespace_name_key
SELECT u.enabled, u.auth, u.invoke_mode, u.allow_origins, u.allow_methods, u.allow_headers,
       u.expose_headers, u.allow_credentials, u.max_age_s
FROM functions f LEFT JOIN function_urls u USING (tenant, namespace, name)
WHERE f.tenant = $1 AND f.namespace = $2 AND f.name = $3;

-- name: put
-- New settings, or others over those that are there.
INSERT INTO function_urls (tenant, namespace, name, enabled, auth, invoke_mode, allow_origins, allow_methods,
                           allow_headers, expose_headers, allow_credentials, max_age_s)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT (tenant, namespace, name) DO UPDATE
SET enabled = $4, auth = $5, invoke_mode = $6, allow_origins = $7, allow_methods = $8, allow_headers = $9,
    expose_headers = $10, allow_credentials = $11, max_age_s = $12, updated_at = now();

-- name: delete
-- Settings; the function's URL has the defaults again.
-- index: function_urls_pkey
DELETE FROM function_urls WHERE tenant = $1 AND namespace = $2 AND name = $3;
