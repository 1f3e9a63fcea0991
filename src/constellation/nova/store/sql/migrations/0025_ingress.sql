-- Who may call functions. A function without a row may be called by whoever may call functions of its namespace.

CREATE TABLE function_ingress (
    tenant             text NOT NULL,
    namespace          text NOT NULL,
    name               text NOT NULL, -- of the function
    ingress_callers    text[] NOT NULL CHECK (ingress_callers <@ '{url,api,function,schedule,queue}'),
    ingress_functions  text[] NOT NULL CHECK (cardinality(ingress_functions) <= 64),
    ingress_allow      text[] NOT NULL CHECK (cardinality(ingress_allow) <= 64),
    ingress_deny       text[] NOT NULL CHECK (cardinality(ingress_deny) <= 64),
    PRIMARY KEY (tenant, namespace, name),
    FOREIGN KEY (tenant, namespace, name) REFERENCES functions (tenant, namespace, name) ON DELETE CASCADE
);
CREATE TRIGGER function_ingress_before_change BEFORE INSERT OR UPDATE OR DELETE ON function_ingress
    EXECUTE FUNCTION before_change();
CREATE TRIGGER function_ingress_changed AFTER INSERT OR UPDATE OR DELETE ON function_ingress
    FOR EACH ROW EXECUTE FUNCTION record_change('function');
