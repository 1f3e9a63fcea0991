-- name: insert
-- Writes rows, one of the arrays each; one that is there already (a batch that was sent twice) is left alone.
-- index: audit_pkey
INSERT INTO audit (tenant, namespace, id, actor, action, method, resource, fields, outcome, status, code, request_id,
                   peer, user_agent, count)
SELECT tenant, namespace, id, actor, action, method, resource, string_to_array(fields, ','), outcome, status, code,
       request_id, peer, user_agent, count
FROM unnest($1::text[], $2::text[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
            $9::text[], $10::integer[], $11::text[], $12::text[], $13::text[], $14::text[], $15::integer[])
     AS row (tenant, namespace, id, actor, action, method, resource, fields, outcome, status, code, request_id, peer,
             user_agent, count)
ON CONFLICT (tenant, id) DO NOTHING;

-- name: list
-- Rows, newest first. Null leaves a filter out: $1 tenant, $2 namespace, $3 actor, $4 action, $5 outcome, $6 what the
-- resource begins with, $7 request, $8 and $9 the first and last instant.
-- index: audit_pkey or audit_by_actor or audit_by_time
SELECT tenant, namespace, id, actor, action, method, resource, fields, outcome, status, code, request_id, peer, user_agent,
       count
FROM audit
WHERE ($1::text IS NULL OR tenant = $1)
  AND ($2::text IS NULL OR namespace = $2)
  AND ($3::text IS NULL OR actor = $3)
  AND ($4::text IS NULL OR action = $4)
  AND ($5::text IS NULL OR outcome = $5)
  AND ($6::text IS NULL OR resource ^@ $6)
  AND ($7::text IS NULL OR request_id = $7)
  AND id >= uuid7_floor(greatest($8::timestamptz, 'epoch'))
  AND id < uuid7_floor(greatest(coalesce($9::timestamptz + interval '1 millisecond', '9999-01-01'), 'epoch'))
ORDER BY id DESC
LIMIT $10 OFFSET $11;

-- name: count
-- How many rows `list` has in all, counted up to $10.
-- index: audit_pkey or audit_by_actor or audit_by_time
SELECT count(*)
FROM (SELECT FROM audit
      WHERE ($1::text IS NULL OR tenant = $1)
        AND ($2::text IS NULL OR namespace = $2)
        AND ($3::text IS NULL OR actor = $3)
        AND ($4::text IS NULL OR action = $4)
        AND ($5::text IS NULL OR outcome = $5)
        AND ($6::text IS NULL OR resource ^@ $6)
        AND ($7::text IS NULL OR request_id = $7)
        AND id >= uuid7_floor(greatest($8::timestamptz, 'epoch'))
        AND id < uuid7_floor(greatest(coalesce($9::timestamptz + interval '1 millisecond', '9999-01-01'), 'epoch'))
      LIMIT $10) AS counted;
