-- Queues of durable calls that stand still: of one function, or with an empty name of a whole namespace.

CREATE TABLE job_pauses (
    tenant         text NOT NULL,
    namespace      text NOT NULL,
    function_name  text NOT NULL,
    since          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, namespace, function_name),
    FOREIGN KEY (tenant, namespace) REFERENCES namespaces ON DELETE CASCADE
);

-- The earliest queued job of each function whose queue moves, of up to `walk` functions with queued jobs. It goes
-- through the index jobs_queued from function to function, so a deep backlog costs no more than a short one.
CREATE FUNCTION queue_heads(walk integer)
RETURNS TABLE (tenant text, namespace text, function_name text, run_at timestamptz)
LANGUAGE sql STABLE AS $$
    WITH RECURSIVE head AS (
        (SELECT job.tenant, job.namespace, job.function_name, job.run_at, 1 AS nth
         FROM jobs AS job
         WHERE job.status = 'queued'
         ORDER BY job.tenant, job.namespace, job.function_name, job.run_at
         LIMIT 1)
        UNION ALL
        SELECT following.tenant, following.namespace, following.function_name, following.run_at, head.nth + 1
        FROM head
        CROSS JOIN LATERAL (
            SELECT job.tenant, job.namespace, job.function_name, job.run_at
            FROM jobs AS job
            WHERE job.status = 'queued'
              AND (job.tenant, job.namespace, job.function_name) > (head.tenant, head.namespace, head.function_name)
            ORDER BY job.tenant, job.namespace, job.function_name, job.run_at
            LIMIT 1
        ) AS following
        WHERE head.nth < walk
    )
    SELECT head.tenant, head.namespace, head.function_name, head.run_at
    FROM head
    WHERE NOT EXISTS (SELECT FROM job_pauses AS paused
                      WHERE paused.tenant = head.tenant AND paused.namespace = head.namespace
                        AND paused.function_name IN ('', head.function_name))
$$;
