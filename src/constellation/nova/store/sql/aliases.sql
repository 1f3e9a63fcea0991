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

-- name: has_qualifier
-- Whether a function ($3) has a version or an alias ($4); null when there is no such function.
-- index: functions_by_name, function_aliases_pkey and function_versions_pkey
SELECT EXISTS (SELECT FROM function_aliases AS a WHERE a.tenant = f.tenant AND a.function_id = f.id AND a.name = $4)
    OR EXISTS (SELECT FROM function_versions AS v WHERE v.tenant = f.tenant AND v.function_id = f.id AND v.version::text = $4)
FROM functions AS f
WHERE f.tenant = $1 AND f.namespace = $2 AND f.name = $3;

-- name: version_of
-- The version that a call of a function ($3) under a name ($4) gets: the live one for '', one by its number, or the one of
-- an alias on which the lot $5, of 0 to 99, falls. Null: it has none of that name; no row: there is no such function.
-- index: functions_by_name, function_alias_shares_pkey and function_versions_pkey
SELECT CASE
    WHEN $4 = '' THEN f.live_version
    ELSE coalesce(
        (SELECT made.version FROM function_versions AS made
         WHERE made.tenant = f.tenant AND made.function_id = f.id AND made.version::text = $4),
        (SELECT share.version
         FROM (SELECT version, sum(weight) OVER (ORDER BY version) AS upto
               FROM function_alias_shares
               WHERE tenant = f.tenant AND function_id = f.id AND alias = $4) AS share
         WHERE share.upto > $5
         ORDER BY share.version
         LIMIT 1))
    END AS version
FROM functions AS f
WHERE f.tenant = $1 AND f.namespace = $2 AND f.name = $3;

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
