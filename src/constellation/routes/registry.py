"""The table of public routes. Zenith routes by it, planes mount by it, OpenAPI and clients are made from it.

A plane that mounts its part must bring a handler for each of its routes and for no other, so no route can be missing
or open by accident.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from constellation.nova.domain.access import Permission
from constellation.routes.models import access as a
from constellation.routes.models import builds as b
from constellation.routes.models import executions as e
from constellation.routes.models import functions as f
from constellation.routes.models import invocations as i
from constellation.routes.models import sandboxes as x
from constellation.routes.models import schedules as s
from constellation.routes.models import statistics as st
from constellation.routes.models.paging import Page


class Plane(StrEnum):
    ZENITH = "zenith"
    NOVA = "nova"
    COMET = "comet"


class Transport(StrEnum):
    """How zenith reaches the plane."""

    LOCAL = "local"  # zenith answers itself
    HTTP = "http"  # relayed to nova
    PROXY = "proxy"  # gRPC ProxyHTTP
    INVOKE = "invoke"  # gRPC Invoke
    STREAM = "stream"  # gRPC InvokeStream
    FUNCTION_URL = "function_url"  # gRPC Invoke with an HTTP event
    TERMINAL = "terminal"  # a WebSocket over gRPC Tunnel
    PORT = "port"  # HTTP or a WebSocket, to a server at the end of a gRPC Tunnel


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One query parameter."""

    name: str
    type: str = "string"  # of JSON schema
    about: str = ""


PAGING = (
    Query(name="limit", type="integer", about="items a page, 1 to 500; 100 when absent"),
    Query(name="offset", type="integer", about="items to skip"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One method on one path template."""

    operation: str  # unique; the handler's name, the client's method, the OpenAPI operationId
    method: str  # "*": any
    template: str
    plane: Plane
    transport: Transport
    permission: Permission
    summary: str
    status: int = 200
    request: Any = None  # msgspec type of the body; None: no body is read
    response: Any = None  # None: no body, or not JSON
    query: Sequence[Query] = ()
    streams: bool = False  # the answer comes in pieces
    media_types: Sequence[str] = ()  # of an answer that is not JSON; (): by method, whether it streams
    max_body_bytes: int | None = None  # None: the gateway's limit
    takes_key: bool = False  # an Idempotency-Key makes repetitions of a request one
    pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        source = re.sub(r"\{([a-z_]+)\}", r"(?P<\1>[^/]+)", self.template)
        source = re.sub(r"\{([a-z_]+):path\}", r"(?P<\1>.*)", source)
        object.__setattr__(self, "pattern", re.compile(source))


def _nova(operation: str, method: str, template: str, permission: Permission, summary: str, **more: Any) -> Route:
    return Route(
        operation=operation,
        method=method,
        template=template,
        permission=permission,
        summary=summary,
        plane=Plane.NOVA,
        transport=Transport.HTTP,
        **more,
    )


def _comet(operation: str, method: str, template: str, permission: Permission, summary: str, **more: Any) -> Route:
    more.setdefault("transport", Transport.PROXY)
    return Route(
        operation=operation,
        method=method,
        template=template,
        permission=permission,
        summary=summary,
        plane=Plane.COMET,
        **more,
    )


def _zenith(operation: str, template: str, summary: str) -> Route:
    return Route(
        operation=operation,
        method="GET",
        template=template,
        permission=Permission.PUBLIC,
        summary=summary,
        plane=Plane.ZENITH,
        transport=Transport.LOCAL,
    )


P = Permission
_FUNCTION = "/functions/{name}"
_SANDBOX = "/sandboxes/{id}"
_PATH = Query(name="path", about="absolute, or below /home/sandbox")
_CODE_BODY_BYTES = 16 << 20  # 10 MiB of code in base64, and its JSON around it
_RANGE = (Query(name="range", about="how far back from now: 15m, 6h, 30d"),)
_DAYS = (Query(name="days", type="integer", about="how many, today the last; 365 when absent"),)
_LOG_QUERY = (
    Query(name="status", about='"ok", "function_error" or a problem code; "failed": whatever is not ok'),
    Query(name="since", about="RFC 3339 instant"),
    Query(name="request_id", about="one call"),
)

_PREFIX = Query(name="prefix", about="what the keys begin with")
_IF_VERSION = Query(name="if_version", type="integer", about="the version that the key must have")

ROUTES: tuple[Route, ...] = (
    _zenith("health_live", "/health/live", "Is the gateway's process alive"),
    _zenith("health_startup", "/health/startup", "Has the gateway started"),
    _zenith("health", "/health", "Gateway, nova and comet, each with its state"),
    _zenith("health_ready", "/health/ready", "Can calls be served now"),
    _nova("openapi", "GET", "/openapi.json", P.PUBLIC, "This document"),
    _nova("whoami", "GET", "/whoami", P.AUTHENTICATED, "Who the credential is", response=a.WhoAmI),
    _nova("create_function", "POST", "/functions", P.FUNCTION_CREATE, "Create a function", status=201,
          request=f.FunctionCreate, response=f.FunctionBody, max_body_bytes=_CODE_BODY_BYTES),
    _nova("list_functions", "GET", "/functions", P.FUNCTION_READ, "Functions by name", response=Page[f.FunctionBody],
          query=(*PAGING, Query(name="search", about="part of the name"), Query(name="runtime"))),
    _nova("get_function", "GET", _FUNCTION, P.FUNCTION_READ, "One function", response=f.FunctionBody),
    _nova("update_function", "PATCH", _FUNCTION, P.FUNCTION_UPDATE, "Change a function",
          request=f.FunctionUpdate, response=f.FunctionBody, max_body_bytes=_CODE_BODY_BYTES),
    _nova("delete_function", "DELETE", _FUNCTION, P.FUNCTION_DELETE, "Delete a function and all that hangs on it",
          response=f.Deleted),
    _nova("get_code", "GET", _FUNCTION + "/code", P.FUNCTION_READ, "The code that was deployed last", response=f.CodeBody),
    _nova("put_code", "PUT", _FUNCTION + "/code", P.FUNCTION_UPDATE, "Replace the code",
          request=f.CodeUpdate, response=f.FunctionBody, max_body_bytes=_CODE_BODY_BYTES),
    _nova("get_capacity", "GET", _FUNCTION + "/capacity", P.FUNCTION_READ, "The capacity policy",
          response=f.CapacityPolicyBody),
    _nova("put_capacity", "PUT", _FUNCTION + "/capacity", P.FUNCTION_UPDATE, "Set the capacity policy",
          request=f.CapacityPolicyBody, response=f.CapacityPolicyBody),
    _nova("delete_capacity", "DELETE", _FUNCTION + "/capacity", P.FUNCTION_UPDATE, "Back to the default policy",
          response=f.CapacityPolicyBody),
    _nova("list_runtimes", "GET", "/runtimes", P.RUNTIME_READ, "Languages", response=Page[f.RuntimeBody], query=PAGING),
    _nova("create_schedule", "POST", _FUNCTION + "/schedules", P.SCHEDULE_MANAGE, "Schedule a function", status=201,
          request=s.ScheduleCreate, response=s.ScheduleBody),
    _nova("list_function_schedules", "GET", _FUNCTION + "/schedules", P.FUNCTION_READ, "Schedules of a function",
          response=Page[s.ScheduleBody], query=PAGING),
    _nova("update_schedule", "PATCH", _FUNCTION + "/schedules/{id}", P.SCHEDULE_MANAGE, "Change a schedule",
          request=s.ScheduleUpdate, response=s.ScheduleBody),
    _nova("delete_schedule", "DELETE", _FUNCTION + "/schedules/{id}", P.SCHEDULE_MANAGE, "Delete a schedule",
          response=f.Deleted),
    _nova("list_schedules", "GET", "/schedules", P.FUNCTION_READ, "Schedules of the namespace",
          response=Page[s.ScheduleBody], query=PAGING),
    _nova("create_apikey", "POST", "/apikeys", P.APIKEY_MANAGE, "Make an API key; it is shown this once", status=201,
          request=a.ApiKeyCreate, response=a.ApiKeyCreated),
    _nova("list_apikeys", "GET", "/apikeys", P.APIKEY_MANAGE, "API keys, without the keys",
          response=Page[a.ApiKeyBody], query=PAGING),
    _nova("update_apikey", "PATCH", "/apikeys/{name}", P.APIKEY_MANAGE, "Enable, disable or re-role a key",
          request=a.ApiKeyUpdate, response=a.ApiKeyBody),
    _nova("delete_apikey", "DELETE", "/apikeys/{name}", P.APIKEY_MANAGE, "Revoke a key", response=f.Deleted),
    _nova("list_tenants", "GET", "/tenants", P.TENANT_READ, "Tenants; others than a platform admin see their own",
          response=Page[a.TenantBody], query=PAGING),
    _nova("create_tenant", "POST", "/tenants", P.TENANT_MANAGE, "Create a tenant with its default namespace",
          status=201, request=a.TenantCreate, response=a.TenantBody),
    _nova("update_tenant", "PATCH", "/tenants/{tenant}", P.TENANT_MANAGE, "Rename or suspend a tenant",
          request=a.TenantUpdate, response=a.TenantBody),
    _nova("delete_tenant", "DELETE", "/tenants/{tenant}", P.TENANT_MANAGE, "Delete a tenant and all it has",
          response=f.Deleted),
    _nova("list_namespaces", "GET", "/tenants/{tenant}/namespaces", P.TENANT_READ, "Namespaces of a tenant",
          response=Page[a.NamespaceBody], query=PAGING),
    _nova("create_namespace", "POST", "/tenants/{tenant}/namespaces", P.TENANT_MANAGE, "Create a namespace",
          status=201, request=a.NamespaceCreate, response=a.NamespaceBody),
    _nova("delete_namespace", "DELETE", "/tenants/{tenant}/namespaces/{namespace}", P.TENANT_MANAGE,
          "Delete an empty namespace", response=f.Deleted),
    _comet("invoke", "POST", _FUNCTION + "/invoke", P.FUNCTION_INVOKE, "Call a function with a JSON event",
           transport=Transport.INVOKE, request=Any, response=i.InvokeBody, max_body_bytes=6 << 20, takes_key=True),
    _comet("function_url", "*", "/fn/{name}", P.FUNCTION_INVOKE, "Call a function with the HTTP request as its event",
           transport=Transport.FUNCTION_URL, max_body_bytes=4 << 20, takes_key=True),
    _comet("function_url_path", "*", "/fn/{name}/{rest:path}", P.FUNCTION_INVOKE,
           "Call a function with the HTTP request as its event", transport=Transport.FUNCTION_URL,
           max_body_bytes=4 << 20, takes_key=True),
    _comet("invoke_stream", "POST", _FUNCTION + "/invoke-stream", P.FUNCTION_INVOKE,
           "Call a function; the answer comes as it is produced", transport=Transport.STREAM, request=Any, streams=True,
           max_body_bytes=6 << 20),
    _comet("invoke_async", "POST", _FUNCTION + "/invoke-async", P.FUNCTION_INVOKE,
           "Accept a durable call; 202 once it is committed", status=202, request=i.AsyncInvoke,
           response=i.AsyncInvocationBody, max_body_bytes=2 << 20, takes_key=True),
    _comet("list_function_async", "GET", _FUNCTION + "/async-invocations", P.FUNCTION_READ,
           "Async invocations of a function, newest first", response=Page[i.AsyncInvocationBody],
           query=(*PAGING, Query(name="status"))),
    _comet("list_async", "GET", "/async-invocations", P.FUNCTION_READ, "Async invocations, newest first",
           response=Page[i.AsyncInvocationBody], query=(*PAGING, Query(name="status"))),
    _comet("redrive_async", "POST", "/async-invocations/dlq/retry-all", P.FUNCTION_INVOKE,
           "Queue every dead async invocation again", response=i.Redriven,
           query=(Query(name="function", about="only this function's"),)),
    _comet("get_async", "GET", "/async-invocations/{id}", P.FUNCTION_READ, "One async invocation with its result",
           response=i.AsyncInvocationBody),
    _comet("retry_async", "POST", "/async-invocations/{id}/retry", P.FUNCTION_INVOKE, "Queue a dead one again",
           request=i.RetryAsync, response=i.AsyncInvocationBody),
    _comet("delete_async", "DELETE", "/async-invocations/{id}", P.FUNCTION_INVOKE,
           "Cancel a queued or forget a dead one", status=204),
    _comet("pause_async", "POST", "/async-invocations/{id}/pause", P.FUNCTION_INVOKE, "Take a queued one out of line",
           response=i.AsyncInvocationBody),
    _comet("resume_async", "POST", "/async-invocations/{id}/resume", P.FUNCTION_INVOKE, "Put a paused one back in line",
           response=i.AsyncInvocationBody),
    _comet("async_summary", "GET", "/async-invocations/summary", P.FUNCTION_READ, "How the namespace's queue stands",
           response=st.AsyncSummary),
    _comet("pause_all_async", "POST", "/async-invocations/pause", P.FUNCTION_UPDATE,
           "Start no async invocation of the namespace until the queue is resumed; new ones wait",
           response=st.AsyncSummary),
    _comet("resume_all_async", "POST", "/async-invocations/resume", P.FUNCTION_UPDATE,
           "Let the namespace's queue move again; functions paused by themselves stay so", response=st.AsyncSummary),
    _comet("function_async_summary", "GET", _FUNCTION + "/async-invocations/summary", P.FUNCTION_READ,
           "How a function's queue stands", response=st.AsyncSummary),
    _comet("pause_function_async", "POST", _FUNCTION + "/async-invocations/pause", P.FUNCTION_UPDATE,
           "Start no async invocation of a function until its queue is resumed; new ones wait",
           response=st.AsyncSummary),
    _comet("resume_function_async", "POST", _FUNCTION + "/async-invocations/resume", P.FUNCTION_UPDATE,
           "Let a function's queue move again", response=st.AsyncSummary),
    _comet("prewarm", "POST", _FUNCTION + "/prewarm", P.FUNCTION_INVOKE,
           "Begin instances before calls come; 202: those that are booting are ready soon", status=202,
           request=st.Prewarm, response=st.Prewarmed),
    _comet("invoke_durable", "POST", _FUNCTION + "/invoke-durable", P.FUNCTION_INVOKE,
           "Begin a durable execution; 202 once it is committed", status=202, request=e.DurableInvoke,
           response=e.ExecutionBody, max_body_bytes=2 << 20),
    _comet("list_executions", "GET", "/executions", P.FUNCTION_READ, "Durable executions, newest first",
           response=Page[e.ExecutionBody],
           query=(*PAGING, Query(name="function"),
                  Query(name="status", about="queued (suspended ones too), running, succeeded, failed or cancelled"))),
    _comet("get_execution", "GET", "/executions/{id}", P.FUNCTION_READ,
           "One durable execution and a page of its steps", response=e.ExecutionDetail, query=PAGING),
    _comet("cancel_execution", "POST", "/executions/{id}/cancel", P.FUNCTION_INVOKE,
           "End an execution that is not over", response=e.ExecutionBody),
    _comet("retry_execution", "POST", "/executions/{id}/retry", P.FUNCTION_INVOKE,
           "Go on with a failed execution from its last step on", response=e.ExecutionBody),
    _comet("signal_execution", "POST", "/executions/{id}/events/{event}", P.FUNCTION_INVOKE,
           "Send an event to an execution; kept until a step takes it", status=202, request=Any,
           response=e.EventSent, max_body_bytes=256 << 10),
    _comet("list_state", "GET", _FUNCTION + "/state", P.STATE_READ, "Keys of a function's store, in order",
           response=Page[e.StateKeyBody], query=(*PAGING, _PREFIX)),
    _comet("get_state", "GET", _FUNCTION + "/state/{key:path}", P.STATE_READ, "One key with its value",
           response=e.StateValueBody),
    _comet("put_state", "PUT", _FUNCTION + "/state/{key:path}", P.STATE_WRITE, "Keep a value under a key",
           request=e.StatePut, response=e.StateWritten, max_body_bytes=512 << 10),
    _comet("delete_state", "DELETE", _FUNCTION + "/state/{key:path}", P.STATE_WRITE, "Delete a key", status=204,
           query=(_IF_VERSION,)),
    _comet("list_shared_state", "GET", "/state/{store}", P.STATE_READ,
           "Keys of a store that the namespace's functions share", response=Page[e.StateKeyBody],
           query=(*PAGING, _PREFIX)),
    _comet("get_shared_state", "GET", "/state/{store}/{key:path}", P.STATE_READ, "One key with its value",
           response=e.StateValueBody),
    _comet("put_shared_state", "PUT", "/state/{store}/{key:path}", P.STATE_WRITE, "Keep a value under a key",
           request=e.StatePut, response=e.StateWritten, max_body_bytes=512 << 10),
    _comet("delete_shared_state", "DELETE", "/state/{store}/{key:path}", P.STATE_WRITE, "Delete a key", status=204,
           query=(_IF_VERSION,)),
    _comet("list_function_builds", "GET", _FUNCTION + "/builds", P.FUNCTION_READ, "Builds of a function, newest first",
           response=Page[b.BuildBody], query=(*PAGING, Query(name="state", about="pending, compiling, success, failed or cancelled"))),
    _comet("retry_build", "POST", _FUNCTION + "/builds", P.FUNCTION_UPDATE,
           "Build the code that was deployed last again, after its build failed or was cancelled", status=202,
           response=b.BuildBody),
    _comet("get_build", "GET", "/builds/{id}", P.FUNCTION_READ, "One build", response=b.BuildBody),
    _comet("build_log", "GET", "/builds/{id}/logs", P.LOG_READ,
           "What a build printed, as text; followed, server-sent events until it ends", streams=True,
           media_types=("text/plain", "text/event-stream"),
           query=(Query(name="follow", type="boolean", about="1: go on until the build ends"),)),
    _comet("cancel_build", "POST", "/builds/{id}/cancel", P.FUNCTION_UPDATE, "End a build that is not over",
           response=b.BuildBody),
    _comet("list_invocations", "GET", "/invocations", P.LOG_READ, "Calls of the namespace, newest first",
           response=Page[i.InvocationBody], query=(*PAGING, Query(name="function"), *_LOG_QUERY)),
    _comet("list_function_invocations", "GET", _FUNCTION + "/invocations", P.LOG_READ,
           "Calls of a function, newest first", response=Page[i.InvocationBody], query=(*PAGING, *_LOG_QUERY)),
    _comet("list_logs", "GET", _FUNCTION + "/logs", P.LOG_READ, "What the calls of a function printed, newest first",
           response=Page[i.LogBody], query=(*PAGING, *_LOG_QUERY)),
    _comet("follow_logs", "GET", _FUNCTION + "/logs/stream", P.LOG_READ,
           "The log as it grows: server-sent events, one a call", streams=True,
           query=(Query(name="since", about="RFC 3339 instant to begin at; now when absent"),)),
    _comet("function_metrics", "GET", _FUNCTION + "/metrics", P.METRICS_READ,
           "Calls of a function by time: how many, how they ended, how long they took", response=st.Statistics,
           query=_RANGE),
    _comet("timeseries", "GET", "/metrics/timeseries", P.METRICS_READ, "The same of the whole namespace",
           response=st.Statistics, query=_RANGE),
    _comet("diagnostics", "GET", _FUNCTION + "/diagnostics", P.LOG_READ, "What of a function is slow, and what fails",
           response=st.Diagnostics, query=_RANGE),
    _comet("function_heatmap", "GET", _FUNCTION + "/heatmap", P.METRICS_READ, "Calls of a function by day",
           response=st.Heatmap, query=_DAYS),
    _comet("heatmap", "GET", "/metrics/heatmap", P.METRICS_READ, "Calls of the namespace by day", response=st.Heatmap,
           query=_DAYS),
    _comet("function_cost", "GET", _FUNCTION + "/cost", P.METRICS_READ, "What the calls of a function cost",
           response=st.FunctionCost, query=_RANGE),
    _comet("cost_summary", "GET", "/cost/summary", P.METRICS_READ, "What the calls of the namespace cost, by function",
           response=st.CostSummary, query=_RANGE),
    _comet("create_sandbox", "POST", "/sandboxes", P.SANDBOX_USE, "Make an interactive sandbox", status=201,
           request=x.SandboxCreate, response=x.SandboxBody, max_body_bytes=_CODE_BODY_BYTES),
    _comet("list_sandboxes", "GET", "/sandboxes", P.SANDBOX_READ, "Sandboxes, newest first; those that ended when asked for",
           response=Page[x.SandboxBody],
           query=(*PAGING, Query(name="state", about="creating, running, paused, ending or ended"))),
    _comet("get_sandbox", "GET", _SANDBOX, P.SANDBOX_READ, "One sandbox", response=x.SandboxBody),
    _comet("delete_sandbox", "DELETE", _SANDBOX, P.SANDBOX_USE, "End a sandbox and all that is in it",
           response=x.SandboxBody),
    _comet("keep_sandbox", "PATCH", _SANDBOX + "/keepalive", P.SANDBOX_USE, "Let a sandbox live longer",
           request=x.SandboxKeepalive, response=x.SandboxBody),
    _comet("pause_sandbox", "POST", _SANDBOX + "/pause", P.SANDBOX_USE, "Let every process of a sandbox stand still",
           response=x.SandboxBody),
    _comet("resume_sandbox", "POST", _SANDBOX + "/resume", P.SANDBOX_USE, "Let a paused sandbox go on",
           response=x.SandboxBody),
    _comet("fork_sandbox", "POST", _SANDBOX + "/fork", P.SANDBOX_USE,
           "A new sandbox with the files, environment and ports of a live one, whose processes are not copied", status=201,
           request=x.SandboxFork, response=x.SandboxForked),
    _comet("exec_sandbox", "POST", _SANDBOX + "/exec", P.SANDBOX_USE,
           "Run a command; answered at its end, or as it writes with Accept: application/x-ndjson",
           request=x.SandboxExec, response=x.SandboxExit, streams=True, max_body_bytes=4 << 20,
           media_types=("application/json", "application/x-ndjson")),
    _comet("run_sandbox_code", "POST", _SANDBOX + "/code", P.SANDBOX_USE, "Run a piece of code; answered as a command is",
           request=x.SandboxCode, response=x.SandboxExit, streams=True, max_body_bytes=4 << 20,
           media_types=("application/json", "application/x-ndjson")),
    _comet("sandbox_terminal", "GET", _SANDBOX + "/terminal", P.SANDBOX_USE,
           "A WebSocket to a program: binary messages are what it reads and writes, text messages are JSON",
           transport=Transport.TERMINAL, streams=True, media_types=("application/octet-stream",),
           query=(Query(name="command", about="of a shell; a login shell when absent"),
                  Query(name="tty", type="boolean", about="0: no terminal; each message begins with a byte, 1 or 2, the stream's number"),
                  Query(name="rows", type="integer"), Query(name="columns", type="integer"),
                  Query(name="cwd", about="a directory"))),
    _comet("read_sandbox_file", "GET", _SANDBOX + "/files", P.SANDBOX_USE, "The bytes of a file", streams=True,
           media_types=("application/octet-stream",),
           query=(_PATH, Query(name="offset", type="integer"), Query(name="length", type="integer"))),
    _comet("write_sandbox_file", "PUT", _SANDBOX + "/files", P.SANDBOX_USE,
           "Write a file: the body is its bytes; with an offset, a part of it", request=bytes, response=x.SandboxEntry,
           max_body_bytes=_CODE_BODY_BYTES,
           query=(_PATH, Query(name="mode", about="octal; 644 when absent"), Query(name="offset", type="integer"))),
    _comet("delete_sandbox_file", "DELETE", _SANDBOX + "/files", P.SANDBOX_USE, "Delete a file or directory", status=204,
           query=(_PATH, Query(name="recursive", type="boolean", about="1: a directory with all that is in it"))),
    _comet("list_sandbox_files", "GET", _SANDBOX + "/files/list", P.SANDBOX_USE, "What is in a directory",
           response=x.SandboxEntries, query=(_PATH,)),
    _comet("stat_sandbox_file", "GET", _SANDBOX + "/files/stat", P.SANDBOX_USE, "What a path names",
           response=x.SandboxEntry, query=(_PATH,)),
    _comet("make_sandbox_directory", "POST", _SANDBOX + "/files/mkdir", P.SANDBOX_USE, "Make a directory and its parents",
           request=x.SandboxMkdir, response=x.SandboxEntry),
    _comet("move_sandbox_file", "POST", _SANDBOX + "/files/move", P.SANDBOX_USE, "Rename a file or directory",
           request=x.SandboxMove, response=x.SandboxEntry),
    _comet("download_sandbox_archive", "GET", _SANDBOX + "/files/archive", P.SANDBOX_USE, "A directory as tar.gz",
           streams=True, media_types=("application/gzip",), query=(_PATH,)),
    _comet("upload_sandbox_archive", "PUT", _SANDBOX + "/files/archive", P.SANDBOX_USE,
           "Unpack a tar, or a compressed one, into a directory", status=204, request=bytes,
           max_body_bytes=_CODE_BODY_BYTES, query=(_PATH,)),
    _comet("list_sandbox_processes", "GET", _SANDBOX + "/processes", P.SANDBOX_USE, "Processes of a sandbox",
           response=x.SandboxProcesses),
    _comet("signal_sandbox_process", "DELETE", _SANDBOX + "/processes/{pid}", P.SANDBOX_USE, "Send a process a signal",
           status=204, query=(Query(name="signal", type="integer", about="its number; 15, SIGTERM, when absent"),)),
    _comet("list_sandbox_ports", "GET", _SANDBOX + "/ports", P.SANDBOX_READ, "Ports that the gateway passes on",
           response=x.SandboxPorts),
    _comet("expose_sandbox_port", "POST", _SANDBOX + "/ports", P.SANDBOX_USE,
           "Pass on what listens on a port of the sandbox's loopback", status=201, request=x.SandboxExpose,
           response=x.SandboxPort),
    _comet("close_sandbox_port", "DELETE", _SANDBOX + "/ports/{port}", P.SANDBOX_USE, "Pass a port on no longer",
           response=x.SandboxPorts),
    _comet("sandbox_port", "*", _SANDBOX + "/ports/{port}/{rest:path}", P.SANDBOX_USE,
           "What the server on an exposed port answers; WebSockets too", transport=Transport.PORT, max_body_bytes=64 << 20),
    _comet("stats", "GET", "/stats", P.METRICS_READ, "Instances, calls in hand and in line", response=i.StatsBody),
    _comet("list_backends", "GET", "/backends", P.CONFIG_READ, "Which isolators can run here, and how limits hold",
           response=i.BackendsBody),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Match:
    """A route, and what its template's names stand for in one path."""

    route: Route
    params: dict[str, str]


class RouteTable:
    """Finds the route of a request. Literal segments win over names, whatever the order of the table."""

    def __init__(self, routes: Sequence[Route] = ROUTES) -> None:
        self._routes = sorted(routes, key=lambda route: (route.template.count("{"), -len(route.template)))

    def match(self, method: str, path: str) -> Match | list[str] | None:
        """Return the match; the methods the path takes when this is not one of them; None for an unknown path.

        Args:
            method: upper case; HEAD is matched as GET.
            path: percent-encoded as it came, without query and without `/v1`.
        """
        wanted = "GET" if method == "HEAD" else method
        allowed: set[str] = set()
        for route in self._routes:
            found = route.pattern.fullmatch(path)
            if found is None:
                continue
            if route.method in ("*", wanted):
                return Match(route, found.groupdict())
            allowed.add(route.method)
        return sorted(allowed) or None


def strip_version(path: str) -> str:
    """Return the path without a leading `/v1`, before anything else looks at it."""
    if path == "/v1":
        return "/"
    return path[3:] if path.startswith("/v1/") else path
