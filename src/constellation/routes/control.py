"""What the control plane serves, and the gateway itself: functions, schedules, keys, tenants."""

from __future__ import annotations

from constellation.nova.domain.access import Permission
from constellation.routes.models import access as a
from constellation.routes.models import functions as f
from constellation.routes.models import ingress as g
from constellation.routes.models import schedules as s
from constellation.routes.models import urls as u
from constellation.routes.models.paging import Page
from constellation.routes.route import CODE_BODY_BYTES, FUNCTION, PAGING, Query, Route, nova, zenith

P = Permission

CONTROL: tuple[Route, ...] = (
    zenith("health_live", "/health/live", "Is the gateway's process alive"),
    zenith("health_startup", "/health/startup", "Has the gateway started"),
    zenith("health", "/health", "Gateway, nova and comet, each with its state"),
    zenith("health_ready", "/health/ready", "Can calls be served now"),
    nova("openapi", "GET", "/openapi.json", P.PUBLIC, "This document"),
    nova("whoami", "GET", "/whoami", P.AUTHENTICATED, "Who the credential is", response=a.WhoAmI),
    nova("create_function", "POST", "/functions", P.FUNCTION_CREATE, "Create a function", status=201, asks_itself=True,
         request=f.FunctionCreate, response=f.FunctionBody, max_body_bytes=CODE_BODY_BYTES, has_tag=True),
    nova("list_functions", "GET", "/functions", P.FUNCTION_READ, "Functions by name", response=Page[f.FunctionBody],
         asks_itself=True,
         query=(*PAGING, Query(name="search", about="part of the name"), Query(name="runtime"))),
    nova("get_function", "GET", FUNCTION, P.FUNCTION_READ, "One function", response=f.FunctionBody, has_tag=True),
    nova("update_function", "PATCH", FUNCTION, P.FUNCTION_UPDATE, "Change a function",
         request=f.FunctionUpdate, response=f.FunctionBody, max_body_bytes=CODE_BODY_BYTES, takes_match=True,
         has_tag=True),
    nova("delete_function", "DELETE", FUNCTION, P.FUNCTION_DELETE, "Delete a function and all that hangs on it",
         response=f.Deleted, takes_match=True),
    nova("get_code", "GET", FUNCTION + "/code", P.FUNCTION_READ, "The code that was deployed last", response=f.CodeBody),
    nova("put_code", "PUT", FUNCTION + "/code", P.FUNCTION_UPDATE, "Replace the code",
         request=f.CodeUpdate, response=f.FunctionBody, max_body_bytes=CODE_BODY_BYTES, takes_match=True, has_tag=True),
    nova("get_capacity", "GET", FUNCTION + "/capacity", P.FUNCTION_READ, "The capacity policy",
         response=f.CapacityPolicyBody),
    nova("put_capacity", "PUT", FUNCTION + "/capacity", P.FUNCTION_UPDATE, "Set the capacity policy",
         request=f.CapacityPolicyBody, response=f.CapacityPolicyBody, takes_match=True),
    nova("delete_capacity", "DELETE", FUNCTION + "/capacity", P.FUNCTION_UPDATE, "Back to the default policy",
         response=f.CapacityPolicyBody, takes_match=True),
    nova("get_function_url", "GET", FUNCTION + "/url", P.FUNCTION_READ, "How a function is reached by its URL",
         response=u.FunctionUrlBody),
    nova("put_function_url", "PUT", FUNCTION + "/url", P.FUNCTION_UPDATE, "Set who may call the URL, and how it answers",
         request=u.FunctionUrlSettings, response=u.FunctionUrlBody),
    nova("delete_function_url", "DELETE", FUNCTION + "/url", P.FUNCTION_UPDATE, "Back to the defaults of a URL",
         response=u.FunctionUrlBody),
    nova("get_ingress", "GET", FUNCTION + "/ingress", P.FUNCTION_READ, "Who may call a function",
         response=g.IngressPolicyBody),
    nova("put_ingress", "PUT", FUNCTION + "/ingress", P.FUNCTION_UPDATE, "Set who may call a function",
         request=g.IngressPolicyBody, response=g.IngressPolicyBody),
    nova("delete_ingress", "DELETE", FUNCTION + "/ingress", P.FUNCTION_UPDATE,
         "Whoever may call functions may call this one again", response=g.IngressPolicyBody),
    nova("list_runtimes", "GET", "/runtimes", P.RUNTIME_READ, "Languages", response=Page[f.RuntimeBody], query=PAGING),
    nova("create_schedule", "POST", FUNCTION + "/schedules", P.SCHEDULE_MANAGE, "Schedule a function", status=201,
         request=s.ScheduleCreate, response=s.ScheduleBody),
    nova("list_function_schedules", "GET", FUNCTION + "/schedules", P.FUNCTION_READ, "Schedules of a function",
         response=Page[s.ScheduleBody], query=PAGING),
    nova("update_schedule", "PATCH", FUNCTION + "/schedules/{id}", P.SCHEDULE_MANAGE, "Change a schedule",
         request=s.ScheduleUpdate, response=s.ScheduleBody),
    nova("delete_schedule", "DELETE", FUNCTION + "/schedules/{id}", P.SCHEDULE_MANAGE, "Delete a schedule",
         response=f.Deleted),
    nova("list_schedules", "GET", "/schedules", P.FUNCTION_READ, "Schedules of the namespace",
         response=Page[s.ScheduleBody], query=PAGING),
    nova("create_apikey", "POST", "/apikeys", P.APIKEY_MANAGE, "Make an API key; it is shown this once", status=201,
         request=a.ApiKeyCreate, response=a.ApiKeyCreated),
    nova("list_apikeys", "GET", "/apikeys", P.APIKEY_MANAGE, "API keys, without the keys",
         response=Page[a.ApiKeyBody], query=PAGING),
    nova("update_apikey", "PATCH", "/apikeys/{name}", P.APIKEY_MANAGE, "Enable, disable or re-role a key",
         request=a.ApiKeyUpdate, response=a.ApiKeyBody),
    nova("rotate_apikey", "POST", "/apikeys/{name}/rotate", P.APIKEY_MANAGE,
         "Put a new key under a name; it is shown this once, and the one before is good no more", response=a.ApiKeyCreated),
    nova("delete_apikey", "DELETE", "/apikeys/{name}", P.APIKEY_MANAGE, "Revoke a key", response=f.Deleted),
    nova("list_tenants", "GET", "/tenants", P.TENANT_READ, "Tenants; others than a platform admin see their own",
         response=Page[a.TenantBody], query=PAGING),
    nova("create_tenant", "POST", "/tenants", P.TENANT_MANAGE, "Create a tenant with its default namespace",
         status=201, request=a.TenantCreate, response=a.TenantBody),
    nova("update_tenant", "PATCH", "/tenants/{tenant}", P.TENANT_MANAGE, "Rename or suspend a tenant",
         request=a.TenantUpdate, response=a.TenantBody),
    nova("delete_tenant", "DELETE", "/tenants/{tenant}", P.TENANT_MANAGE, "Delete a tenant and all it has",
         response=f.Deleted),
    nova("list_namespaces", "GET", "/tenants/{tenant}/namespaces", P.TENANT_READ, "Namespaces of a tenant",
         response=Page[a.NamespaceBody], query=PAGING),
    nova("create_namespace", "POST", "/tenants/{tenant}/namespaces", P.TENANT_MANAGE, "Create a namespace",
         status=201, request=a.NamespaceCreate, response=a.NamespaceBody),
    nova("delete_namespace", "DELETE", "/tenants/{tenant}/namespaces/{namespace}", P.TENANT_MANAGE,
         "Delete an empty namespace", response=f.Deleted),
)  # fmt: skip
