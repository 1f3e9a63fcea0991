-- name: list
-- The aliases of a function by name; $3 is one, or null.
-- index: function_aliases_pkey
SELECT named.name, named.is_sticky, named.description, named.version, named.created_at, named.updated_at,
       array_agg(share.version ORDER BY share.version) AS versions,
       array_agg(share.weight ORDER BY share.version) AS weights
FROM function_aliases AS named
JOIN function_alias_shares AS share
    ON share.tenant = named.tenant AND share.function_id = named.function_id AND share.alias = named.name
WHERE named.tenant = $1 AND named.function_id = $2 AND ($3::text IS NULL OR named.name = $3)
GROUP BY named.tenant, named.function_id, named.name
ORDER BY named.name;

-- name: put
-- An alias, new or changed; takes the change log's lock, so no version goes meanwhile.
INSERT INTO function_aliases (tenant, function_id, name, is_sticky, description) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (tenant, function_id, name) DO UPDATE
SET is_sticky = excluded.is_sticky, description = excluded.description, version = function_aliases.version + 1,
    updated_at = now();

-- name: count
-- How many aliases a function has.
-- index: function_aliases_pkey
SELECT count(*) FROM function_aliases WHERE tenant = $1 AND function_id = $2;

-- name: clear_shares
-- What an alias stood for.
-- index: function_alias_shares_pkey
DELETE FROM function_alias_shares WHERE tenant = $1 AND function_id = $2 AND alias = $3;

-- name: insert_shares
-- What an alias stands for: of these versions, those that exist. Says which.
INSERT INTO function_alias_shares (tenant, function_id, alias, version, weight)
SELECT made.tenant, made.function_id, $3, made.version, share.weight
FROM unnest($4::integer[], $5::integer[]) AS share (version, weight)
JOIN function_versions AS made ON made.tenant = $1 AND made.function_id = $2 AND made.version = share.version
RETURNING version;

-- name: delete
-- An alias.
-- index: function_aliases_pkey
DELETE FROM function_aliases WHERE tenant = $1 AND function_id = $2 AND name = $3;
