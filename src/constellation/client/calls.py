"""Each operation of the registry as a function from its arguments to its `Call`."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import UNSET

from constellation.client.call import IDEMPOTENCY_HEADER, TIMEOUT_HEADER, Call, call, matching, page_call
from constellation.routes.models import access as a
from constellation.routes.models import builds as b
from constellation.routes.models import functions as f
from constellation.routes.models import invocations as i
from constellation.routes.models import schedules as s
from constellation.routes.models import statistics as st
from constellation.routes.models.paging import DEFAULT_LIMIT, Page

# The gateway states its own timeouts as problems; the client waits this much longer so that it hears them.
ANSWER_GRACE_S = 5.0
SILENCE_S = 60.0  # chosen: a stream that says nothing for so long is asked again by whoever follows it


# --- the platform


def health() -> Call[dict[str, Any]]:
    """Gateway, nova and comet, each with its state; an `ApiProblem` of 503 carries the same in `body`."""
    return call("health", dict[str, Any])


def health_ready() -> Call[dict[str, Any]]:
    """Can calls be served now; an `ApiProblem` of 503 when not."""
    return call("health_ready", dict[str, Any])


def openapi() -> Call[dict[str, Any]]:
    """The description of the whole API, OpenAPI 3.1."""
    return call("openapi", dict[str, Any])


def whoami() -> Call[a.WhoAmI]:
    """Who the credential is, in which scope, with which permissions."""
    return call("whoami", a.WhoAmI)


def stats() -> Call[i.StatsBody]:
    """Instances, calls in hand and in line, as the caller's namespace may see them."""
    return call("stats", i.StatsBody)


def list_backends() -> Call[i.BackendsBody]:
    """Which isolators can run here, and how each limit is enforced."""
    return call("list_backends", i.BackendsBody)


def list_runtimes(*, page_size: int = DEFAULT_LIMIT) -> Call[Page[f.RuntimeBody]]:
    """Languages, and why one is not available."""
    return page_call("list_runtimes", f.RuntimeBody, page_size=page_size)


# --- functions


def create_function(function: f.FunctionCreate) -> Call[f.FunctionBody]:
    """Create a function; it can be called once this returns, or once it is built where its answer has a `build`. `already_exists` (409) when the name is taken."""
    return call("create_function", f.FunctionBody, body=function)


def list_functions(
    *, search: str | None = None, runtime: str | None = None, tag: str | None = None, page_size: int = DEFAULT_LIMIT
) -> Call[Page[f.FunctionBody]]:
    """Functions of the namespace by name; with `search`, those in which words begin so. `tag`: KEY or KEY=VALUE."""
    query = {"search": search, "runtime": runtime, "tag": tag}
    return page_call("list_functions", f.FunctionBody, page_size=page_size, query=query)


def get_function(name: str) -> Call[f.FunctionBody]:
    """One function."""
    return call("get_function", f.FunctionBody, params={"name": name})


def update_function(name: str, changes: f.FunctionUpdate, *, if_match: str | None = None) -> Call[f.FunctionBody]:
    """Change the given fields. `version_conflict` (409) when `changes.version` is not the row's.

    `if_match`: the `tag` of the function as it was read; `precondition_failed` (412) when it was changed since.
    """
    return call("update_function", f.FunctionBody, params={"name": name}, body=changes, headers=matching(if_match))


def delete_function(name: str, *, if_match: str | None = None) -> Call[f.Deleted]:
    """Delete a function and all that hangs on it; `if_match` as in `update_function`."""
    return call("delete_function", f.Deleted, params={"name": name}, headers=matching(if_match))


def get_code(name: str) -> Call[f.CodeBody]:
    """The code that was deployed last."""
    return call("get_code", f.CodeBody, params={"name": name})


def list_files(name: str, *, page_size: int = DEFAULT_LIMIT) -> Call[Page[f.FileBody]]:
    """The files of the code that was deployed last, by path."""
    return page_call("list_files", f.FileBody, page_size=page_size, params={"name": name})


def put_code(name: str, code: f.CodeUpdate, *, if_match: str | None = None) -> Call[f.FunctionBody]:
    """Replace the code; the same code again changes nothing. `if_match` as in `update_function`."""
    return call("put_code", f.FunctionBody, params={"name": name}, body=code, headers=matching(if_match))


def get_capacity(name: str) -> Call[f.CapacityPolicyBody]:
    """How many calls may be in hand and in line."""
    return call("get_capacity", f.CapacityPolicyBody, params={"name": name})


def put_capacity(name: str, policy: f.CapacityPolicyBody) -> Call[f.CapacityPolicyBody]:
    """Set the capacity policy."""
    return call("put_capacity", f.CapacityPolicyBody, params={"name": name}, body=policy)


def delete_capacity(name: str) -> Call[f.CapacityPolicyBody]:
    """Go back to the default policy, which is returned."""
    return call("delete_capacity", f.CapacityPolicyBody, params={"name": name})


# --- builds


def list_function_builds(
    name: str, *, state: str | None = None, page_size: int = DEFAULT_LIMIT
) -> Call[Page[b.BuildBody]]:
    """Builds of a function, newest first."""
    query = {"state": state}
    return page_call("list_function_builds", b.BuildBody, page_size=page_size, params={"name": name}, query=query)


def retry_build(name: str) -> Call[b.BuildBody]:
    """Build what was deployed last again. `state_conflict` (409) unless its build failed or was cancelled."""
    return call("retry_build", b.BuildBody, params={"name": name})


def get_build(build_id: UUID) -> Call[b.BuildBody]:
    """One build."""
    return call("get_build", b.BuildBody, params={"id": str(build_id)})


def build_log(build_id: UUID, *, follow: bool = False) -> Call[Any]:
    """What a build printed so far, or with `follow` until it ends: pieces of text, and with `follow` then the build."""
    query = {"follow": True} if follow else {}
    return call("build_log", None, params={"id": str(build_id)}, query=query, timeout_s=SILENCE_S)


def cancel_build(build_id: UUID) -> Call[b.BuildBody]:
    """End a build that is not over."""
    return call("cancel_build", b.BuildBody, params={"id": str(build_id)})


# --- schedules


def create_schedule(name: str, schedule: s.ScheduleCreate) -> Call[s.ScheduleBody]:
    """Fire function `name` by the clock."""
    return call("create_schedule", s.ScheduleBody, params={"name": name}, body=schedule)


def list_function_schedules(name: str, *, page_size: int = DEFAULT_LIMIT) -> Call[Page[s.ScheduleBody]]:
    """Schedules of one function."""
    return page_call("list_function_schedules", s.ScheduleBody, page_size=page_size, params={"name": name})


def list_schedules(*, page_size: int = DEFAULT_LIMIT) -> Call[Page[s.ScheduleBody]]:
    """Schedules of the namespace."""
    return page_call("list_schedules", s.ScheduleBody, page_size=page_size)


def update_schedule(name: str, schedule_id: UUID, changes: s.ScheduleUpdate) -> Call[s.ScheduleBody]:
    """Change the given fields of a schedule of function `name`."""
    params = {"name": name, "id": str(schedule_id)}
    return call("update_schedule", s.ScheduleBody, params=params, body=changes)


def delete_schedule(name: str, schedule_id: UUID) -> Call[f.Deleted]:
    """Delete a schedule of function `name`."""
    return call("delete_schedule", f.Deleted, params={"name": name, "id": str(schedule_id)})


# --- keys, tenants, namespaces


def create_apikey(key: a.ApiKeyCreate) -> Call[a.ApiKeyCreated]:
    """Make an API key; the answer is the only place where it is ever shown."""
    return call("create_apikey", a.ApiKeyCreated, body=key)


def list_apikeys(*, page_size: int = DEFAULT_LIMIT) -> Call[Page[a.ApiKeyBody]]:
    """API keys, without the keys."""
    return page_call("list_apikeys", a.ApiKeyBody, page_size=page_size)


def update_apikey(name: str, changes: a.ApiKeyUpdate) -> Call[a.ApiKeyBody]:
    """Enable, disable or re-role a key."""
    return call("update_apikey", a.ApiKeyBody, params={"name": name}, body=changes)


def delete_apikey(name: str) -> Call[f.Deleted]:
    """Revoke a key."""
    return call("delete_apikey", f.Deleted, params={"name": name})


def list_tenants(*, page_size: int = DEFAULT_LIMIT) -> Call[Page[a.TenantBody]]:
    """Tenants; others than a platform admin see their own."""
    return page_call("list_tenants", a.TenantBody, page_size=page_size)


def create_tenant(tenant: a.TenantCreate) -> Call[a.TenantBody]:
    """Create a tenant with its default namespace."""
    return call("create_tenant", a.TenantBody, body=tenant)


def update_tenant(tenant: str, changes: a.TenantUpdate) -> Call[a.TenantBody]:
    """Rename or suspend a tenant."""
    return call("update_tenant", a.TenantBody, params={"tenant": tenant}, body=changes)


def delete_tenant(tenant: str) -> Call[f.Deleted]:
    """Delete a tenant and all it has."""
    return call("delete_tenant", f.Deleted, params={"tenant": tenant})


def list_namespaces(tenant: str, *, page_size: int = DEFAULT_LIMIT) -> Call[Page[a.NamespaceBody]]:
    """Namespaces of a tenant."""
    return page_call("list_namespaces", a.NamespaceBody, page_size=page_size, params={"tenant": tenant})


def create_namespace(tenant: str, namespace: a.NamespaceCreate) -> Call[a.NamespaceBody]:
    """Create a namespace."""
    return call("create_namespace", a.NamespaceBody, params={"tenant": tenant}, body=namespace)


def delete_namespace(tenant: str, namespace: str) -> Call[f.Deleted]:
    """Delete an empty namespace."""
    return call("delete_namespace", f.Deleted, params={"tenant": tenant, "namespace": namespace})


# --- calls and what is known of them


def invoke(
    name: str, event: object = None, *, timeout_s: float | None = None, idempotency_key: str | None = None
) -> Call[i.InvokeBody]:
    """Call a function. A handler that raised is an answer with `error` set, not an exception.

    Args:
        name: the function.
        event: anything JSON can hold, or `msgspec.Raw` to send text as it is.
        timeout_s: how long the handler may run; None: the function's own limit.
        idempotency_key: calls with the same key and event are one call, and get one answer.
    """
    facts = _patience(timeout_s)
    key = {} if idempotency_key is None else {IDEMPOTENCY_HEADER: idempotency_key}
    headers = {**facts.pop("headers", {}), **key}
    return call("invoke", i.InvokeBody, params={"name": name}, body=event, headers=headers, **facts)


def invoke_stream(
    name: str, event: object = None, *, timeout_s: float | None = None, is_binary: bool = False
) -> Call[Any]:
    """Call a function and read its answer piece by piece: bytes, then one `StreamEnd`.

    Args:
        name: the function.
        event: as for `invoke`.
        timeout_s: as for `invoke`.
        is_binary: the pieces are bytes as the handler made them, and a failure after the first one only breaks the
            connection; else they are text, and the end says what happened.
    """
    facts = _patience(timeout_s)
    accept = {"accept": "application/octet-stream, */*;q=0.5"} if is_binary else {}
    headers = {**facts.pop("headers", {}), **accept}
    return call("invoke_stream", None, params={"name": name}, body=event, headers=headers, **facts)


def invoke_async(name: str, job: i.AsyncInvoke) -> Call[i.AsyncInvocationBody]:
    """Accept a durable call; it is committed when this returns."""
    return call("invoke_async", i.AsyncInvocationBody, params={"name": name}, body=job)


def list_function_async(
    name: str, *, status: str | None = None, page_size: int = DEFAULT_LIMIT
) -> Call[Page[i.AsyncInvocationBody]]:
    """Async invocations of a function, newest first."""
    return page_call(
        "list_function_async",
        i.AsyncInvocationBody,
        page_size=page_size,
        params={"name": name},
        query={"status": status},
    )


def list_async(*, status: str | None = None, page_size: int = DEFAULT_LIMIT) -> Call[Page[i.AsyncInvocationBody]]:
    """Async invocations of the namespace, newest first."""
    return page_call("list_async", i.AsyncInvocationBody, page_size=page_size, query={"status": status})


def get_async(job_id: UUID) -> Call[i.AsyncInvocationBody]:
    """One async invocation with its result."""
    return call("get_async", i.AsyncInvocationBody, params={"id": str(job_id)})


def retry_async(job_id: UUID, *, max_attempts: int | None = None) -> Call[i.AsyncInvocationBody]:
    """Queue a dead one again; its attempts start from zero."""
    body = i.RetryAsync(max_attempts=UNSET if max_attempts is None else max_attempts)
    return call("retry_async", i.AsyncInvocationBody, params={"id": str(job_id)}, body=body)


def redrive_async(*, function: str | None = None) -> Call[i.Redriven]:
    """Queue every dead one again, or only those of one function."""
    return call("redrive_async", i.Redriven, query={"function": function})


def list_dead_async(
    *, function: str | None = None, page_size: int = DEFAULT_LIMIT
) -> Call[Page[i.AsyncInvocationBody]]:
    """Those whose attempts are used up, newest first."""
    return page_call("list_dead_async", i.AsyncInvocationBody, page_size=page_size, query={"function": function})


def purge_async(*, function: str | None = None) -> Call[i.Purged]:
    """Forget every dead one, or only those of one function."""
    return call("purge_async", i.Purged, query={"function": function})


def delete_async(job_id: UUID) -> Call[None]:
    """Cancel a queued one or forget a dead one."""
    return call("delete_async", None, params={"id": str(job_id)})


def pause_async(job_id: UUID) -> Call[i.AsyncInvocationBody]:
    """Take a queued one out of line."""
    return call("pause_async", i.AsyncInvocationBody, params={"id": str(job_id)})


def resume_async(job_id: UUID) -> Call[i.AsyncInvocationBody]:
    """Put a paused one back in line."""
    return call("resume_async", i.AsyncInvocationBody, params={"id": str(job_id)})


def async_summary() -> Call[st.AsyncSummary]:
    """How the namespace's queue stands."""
    return call("async_summary", st.AsyncSummary)


def pause_all_async() -> Call[st.AsyncSummary]:
    """Start nothing of the namespace's queue until it is resumed."""
    return call("pause_all_async", st.AsyncSummary)


def resume_all_async() -> Call[st.AsyncSummary]:
    """Let the namespace's queue move again."""
    return call("resume_all_async", st.AsyncSummary)


def function_async_summary(name: str) -> Call[st.AsyncSummary]:
    """How a function's queue stands."""
    return call("function_async_summary", st.AsyncSummary, params={"name": name})


def pause_function_async(name: str) -> Call[st.AsyncSummary]:
    """Start nothing of a function's queue until it is resumed."""
    return call("pause_function_async", st.AsyncSummary, params={"name": name})


def resume_function_async(name: str) -> Call[st.AsyncSummary]:
    """Let a function's queue move again."""
    return call("resume_function_async", st.AsyncSummary, params={"name": name})


def prewarm(name: str, *, target: int = 1) -> Call[st.Prewarmed]:
    """Begin instances of a function until there are `target`."""
    return call("prewarm", st.Prewarmed, params={"name": name}, body=st.Prewarm(target=target))


# --- the invocation log


def list_invocations(
    *,
    function: str | None = None,
    status: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    search: str | None = None,
    request_id: UUID | None = None,
    page_size: int = DEFAULT_LIMIT,
) -> Call[Page[i.InvocationBody]]:
    """Calls of the namespace, newest first. `status` "failed" is whatever is not "ok", `search` a part of log or error."""
    query = {
        "function": function,
        "status": status,
        "since": since,
        "until": until,
        "search": search,
        "request_id": request_id,
    }
    return page_call("list_invocations", i.InvocationBody, page_size=page_size, query=query)


def list_function_invocations(
    name: str,
    *,
    status: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    search: str | None = None,
    request_id: UUID | None = None,
    page_size: int = DEFAULT_LIMIT,
) -> Call[Page[i.InvocationBody]]:
    """Calls of a function, newest first."""
    query = {"status": status, "since": since, "until": until, "search": search, "request_id": request_id}
    return page_call(
        "list_function_invocations", i.InvocationBody, page_size=page_size, params={"name": name}, query=query
    )


def list_logs(
    name: str,
    *,
    status: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    search: str | None = None,
    request_id: UUID | None = None,
    page_size: int = DEFAULT_LIMIT,
) -> Call[Page[i.LogBody]]:
    """What the calls of a function printed, newest first."""
    query = {"status": status, "since": since, "until": until, "search": search, "request_id": request_id}
    return page_call("list_logs", i.LogBody, page_size=page_size, params={"name": name}, query=query)


def follow_logs(name: str, *, since: datetime | None = None) -> Call[Any]:
    """The log as it grows, one item a call, from now or from `since`; ends when the platform closes it."""
    return call("follow_logs", None, params={"name": name}, query={"since": since}, timeout_s=SILENCE_S)


def _patience(timeout_s: float | None) -> dict[str, Any]:
    if timeout_s is None:
        return {}
    return {"timeout_s": timeout_s + ANSWER_GRACE_S, "headers": {TIMEOUT_HEADER: f"{timeout_s:g}"}}
