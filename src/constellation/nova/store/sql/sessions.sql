-- name: insert
-- A new session of a user who exists and is enabled.
INSERT INTO sessions (tenant, id, user_name, token_hash, address, expires_at)
SELECT tenant, $2, name, $4, $5, $6 FROM users WHERE tenant = $1 AND name = $3 AND enabled
RETURNING id;

-- name: get_by_hash
-- The session with this token, with its user.
-- index: sessions_token_hash_key
SELECT s.tenant, s.id, s.user_name, s.expires_at, u.is_platform, u.enabled
FROM sessions AS s
JOIN users AS u ON u.tenant = s.tenant AND u.name = s.user_name
WHERE s.token_hash = $1;

-- name: list
-- The sessions of a user that are not over, newest first.
-- index: sessions_by_user
SELECT id, address, created_at, expires_at
FROM sessions
WHERE tenant = $1 AND user_name = $2 AND expires_at > now()
ORDER BY id DESC
LIMIT $3 OFFSET $4;

-- name: count
-- How many sessions `list` has in all.
-- index: sessions_by_user
SELECT count(*) FROM sessions WHERE tenant = $1 AND user_name = $2 AND expires_at > now();

-- name: delete
-- One session of a user.
-- index: sessions_pkey or sessions_by_user
DELETE FROM sessions WHERE tenant = $1 AND user_name = $2 AND id = $3;

-- name: delete_all
-- All sessions of a user, but for one ($3, or null).
-- index: sessions_by_user
DELETE FROM sessions WHERE tenant = $1 AND user_name = $2 AND ($3::uuid IS NULL OR id <> $3);

-- name: delete_oldest
-- All sessions of a user but for the $3 newest.
-- index: sessions_by_user
DELETE FROM sessions
WHERE tenant = $1 AND user_name = $2
  AND id < (SELECT min(id::text)::uuid
            FROM (SELECT id FROM sessions WHERE tenant = $1 AND user_name = $2 ORDER BY id DESC LIMIT $3) AS kept);

-- name: forget_ended
-- Up to a hundred sessions that are over.
-- index: sessions_ended
DELETE FROM sessions
WHERE ctid = ANY (ARRAY(SELECT ctid FROM sessions WHERE expires_at <= now() ORDER BY expires_at LIMIT 100));
