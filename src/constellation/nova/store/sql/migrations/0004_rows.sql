-- The invocation log is written faster: by COPY, with a way round for a batch that is partly there already, and into
-- indexes whose pages are left full.

CREATE UNLOGGED TABLE invocations_staged (LIKE invocations INCLUDING DEFAULTS);

DROP INDEX invocations_by_function;
DROP INDEX invocations_by_scope;
CREATE INDEX invocations_by_function ON invocations (tenant, namespace, function_name, id);
CREATE INDEX invocations_by_scope ON invocations (tenant, namespace, id);
