-- name: get
-- What is written about a function.
-- index: function_docs_pkey
SELECT content, version, created_at, updated_at
FROM function_docs
WHERE tenant = $1 AND namespace = $2 AND name = $3;

-- name: put
-- Write it, over what is there.
INSERT INTO function_docs AS written (tenant, namespace, name, content) VALUES ($1, $2, $3, $4)
ON CONFLICT (tenant, namespace, name)
DO UPDATE SET content = EXCLUDED.content, version = written.version + 1, updated_at = now()
RETURNING content, version, created_at, updated_at;

-- name: delete
-- Forget it.
-- index: function_docs_pkey
DELETE FROM function_docs WHERE tenant = $1 AND namespace = $2 AND name = $3;

-- name: insert_share
-- A new link, while there are fewer than $9 of the function.
-- index: doc_shares_pkey
INSERT INTO doc_shares (tenant, namespace, function_name, id, title, token_hash, created_by, expires_at)
SELECT $1, $2, $3, $4, $5, $6, $7, $8
WHERE (SELECT count(*) FROM doc_shares WHERE tenant = $1 AND namespace = $2 AND function_name = $3) < $9
RETURNING tenant, namespace, function_name, id, title, created_by, expires_at, created_at;

-- name: list_shares
-- The links of a function, newest first.
-- index: doc_shares_pkey
SELECT tenant, namespace, function_name, id, title, created_by, expires_at, created_at
FROM doc_shares
WHERE tenant = $1 AND namespace = $2 AND function_name = $3
ORDER BY id DESC
LIMIT $4 OFFSET $5;

-- name: count_shares
-- How many links `list_shares` has in all.
-- index: doc_shares_pkey
SELECT count(*) FROM doc_shares WHERE tenant = $1 AND namespace = $2 AND function_name = $3;

-- name: delete_share
-- A link that nobody is to use any more.
-- index: doc_shares_pkey
DELETE FROM doc_shares WHERE tenant = $1 AND namespace = $2 AND function_name = $3 AND id = $4;

-- name: read_share
-- What a link shows, whoever reads it; the hash of its token is all that is known.
-- index: doc_shares_token_hash_key
SELECT share.function_name, share.title, share.expires_at, docs.content, docs.updated_at
FROM doc_shares AS share
LEFT JOIN function_docs AS docs
    ON docs.tenant = share.tenant AND docs.namespace = share.namespace AND docs.name = share.function_name
WHERE share.token_hash = $1;
