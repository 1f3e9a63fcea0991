"""Calls of functions and what a call leaves to wait for: async invocations, durable executions, kept state."""

from __future__ import annotations

from typing import Any

from constellation.nova.domain.access import Permission
from constellation.routes.models import executions as e
from constellation.routes.models import invocations as i
from constellation.routes.models import statistics as st
from constellation.routes.models.paging import Page
from constellation.routes.route import FUNCTION, PAGING, Query, Route, Transport, comet

P = Permission
_PREFIX = Query(name="prefix", about="what the keys begin with")
_IF_VERSION = Query(name="if_version", type="integer", about="the version that the key must have", low=1)


_EXECUTIONS = (
    Query(name="status", about="queued (suspended ones too), running, succeeded, failed or cancelled"),
    Query(name="since", about="begun at or after this RFC 3339 instant"),
    Query(name="until", about="begun before this RFC 3339 instant"),
)
_QUALIFIER = Query(
    name="qualifier",
    about="the number of a version, or an alias; absent: the live version. Also the header X-Nova-Qualifier",
)

CALLS: tuple[Route, ...] = (
    comet("invoke", "POST", FUNCTION + "/invoke", P.FUNCTION_INVOKE, "Call a function with a JSON event; as NAME:QUALIFIER a version or an alias of it",
          transport=Transport.INVOKE, query=(_QUALIFIER,), request=Any, response=i.InvokeBody, max_body_bytes=6 << 20, takes_key=True),
    comet("function_url", "*", "/fn/{name}", P.FUNCTION_INVOKE, "Call a function with the HTTP request as its event",
          transport=Transport.FUNCTION_URL, max_body_bytes=4 << 20, takes_key=True),
    comet("function_url_path", "*", "/fn/{name}/{rest:path}", P.FUNCTION_INVOKE,
          "Call a function with the HTTP request as its event", transport=Transport.FUNCTION_URL,
          max_body_bytes=4 << 20, takes_key=True),
    comet("public_url", "*", "/url/{tenant}/{namespace}/{name}", P.FUNCTION_INVOKE,
          "The same, by an address that says all of where the function is; open to anybody when its URL's auth is none",
          transport=Transport.FUNCTION_URL, max_body_bytes=4 << 20, takes_key=True),
    comet("public_url_path", "*", "/url/{tenant}/{namespace}/{name}/{rest:path}", P.FUNCTION_INVOKE,
          "The same, by an address that says all of where the function is; open to anybody when its URL's auth is none",
          transport=Transport.FUNCTION_URL, max_body_bytes=4 << 20, takes_key=True),
    comet("invoke_stream", "POST", FUNCTION + "/invoke-stream", P.FUNCTION_INVOKE,
          "Call a function; the answer comes as it is produced", transport=Transport.STREAM, query=(_QUALIFIER,), request=Any, streams=True,
          max_body_bytes=6 << 20),
    comet("invoke_async", "POST", FUNCTION + "/invoke-async", P.FUNCTION_INVOKE,
          "Accept a durable call; 202 once it is committed. An alias is looked at for each run", status=202,
          query=(_QUALIFIER,), request=i.AsyncInvoke, response=i.AsyncInvocationBody, max_body_bytes=2 << 20, takes_key=True),
    comet("list_function_async", "GET", FUNCTION + "/async-invocations", P.FUNCTION_READ,
          "Async invocations of a function, newest first", response=Page[i.AsyncInvocationBody],
          query=(*PAGING, Query(name="status"))),
    comet("list_async", "GET", "/async-invocations", P.FUNCTION_READ, "Async invocations, newest first",
          response=Page[i.AsyncInvocationBody],
          query=(*PAGING, Query(name="status"), Query(name="function", about="only this function's"))),
    comet("list_dead_async", "GET", "/async-invocations/dlq", P.FUNCTION_READ,
          "Async invocations whose attempts are used up, newest first", response=Page[i.AsyncInvocationBody],
          query=(*PAGING, Query(name="function", about="only this function's"))),
    comet("purge_async", "DELETE", "/async-invocations/dlq", P.FUNCTION_UPDATE, "Forget every dead async invocation",
          response=i.Purged, query=(Query(name="function", about="only this function's"),)),
    comet("redrive_async", "POST", "/async-invocations/dlq/retry-all", P.FUNCTION_INVOKE,
          "Queue every dead async invocation again", response=i.Redriven,
          query=(Query(name="function", about="only this function's"),)),
    comet("get_async", "GET", "/async-invocations/{id}", P.FUNCTION_READ, "One async invocation with its result",
          response=i.AsyncInvocationBody),
    comet("retry_async", "POST", "/async-invocations/{id}/retry", P.FUNCTION_INVOKE, "Queue a dead one again",
          request=i.RetryAsync, response=i.AsyncInvocationBody),
    comet("delete_async", "DELETE", "/async-invocations/{id}", P.FUNCTION_INVOKE,
          "Cancel a queued or forget a dead one", status=204),
    comet("pause_async", "POST", "/async-invocations/{id}/pause", P.FUNCTION_INVOKE, "Take a queued one out of line",
          response=i.AsyncInvocationBody),
    comet("resume_async", "POST", "/async-invocations/{id}/resume", P.FUNCTION_INVOKE, "Put a paused one back in line",
          response=i.AsyncInvocationBody),
    comet("async_summary", "GET", "/async-invocations/summary", P.FUNCTION_READ, "How the namespace's queue stands",
          response=st.AsyncSummary),
    comet("pause_all_async", "POST", "/async-invocations/pause", P.FUNCTION_UPDATE,
          "Start no async invocation of the namespace until the queue is resumed; new ones wait",
          response=st.AsyncSummary),
    comet("resume_all_async", "POST", "/async-invocations/resume", P.FUNCTION_UPDATE,
          "Let the namespace's queue move again; functions paused by themselves stay so", response=st.AsyncSummary),
    comet("function_async_summary", "GET", FUNCTION + "/async-invocations/summary", P.FUNCTION_READ,
          "How a function's queue stands", response=st.AsyncSummary),
    comet("pause_function_async", "POST", FUNCTION + "/async-invocations/pause", P.FUNCTION_UPDATE,
          "Start no async invocation of a function until its queue is resumed; new ones wait",
          response=st.AsyncSummary),
    comet("resume_function_async", "POST", FUNCTION + "/async-invocations/resume", P.FUNCTION_UPDATE,
          "Let a function's queue move again", response=st.AsyncSummary),
    comet("prewarm", "POST", FUNCTION + "/prewarm", P.FUNCTION_INVOKE,
          "Begin instances before calls come; 202: those that are booting are ready soon", status=202,
          request=st.Prewarm, response=st.Prewarmed),
    comet("invoke_durable", "POST", FUNCTION + "/invoke-durable", P.FUNCTION_INVOKE,
          "Begin a durable execution; 202 once it is committed. It stays with the version that it begins with", status=202,
          query=(_QUALIFIER,), request=e.DurableInvoke, response=e.ExecutionBody, max_body_bytes=2 << 20),
    comet("list_executions", "GET", "/executions", P.FUNCTION_READ, "Durable executions, newest first",
          response=Page[e.ExecutionBody], query=(*PAGING, Query(name="function"), *_EXECUTIONS)),
    comet("list_function_executions", "GET", FUNCTION + "/executions", P.FUNCTION_READ,
          "Durable executions of a function, newest first", response=Page[e.ExecutionBody],
          query=(*PAGING, *_EXECUTIONS)),
    comet("get_execution", "GET", "/executions/{id}", P.FUNCTION_READ,
          "One durable execution and a page of its steps", response=e.ExecutionDetail, query=PAGING),
    comet("cancel_execution", "POST", "/executions/{id}/cancel", P.FUNCTION_INVOKE,
          "End an execution that is not over", response=e.ExecutionBody),
    comet("retry_execution", "POST", "/executions/{id}/retry", P.FUNCTION_INVOKE,
          "Go on with a failed execution from its last step on", response=e.ExecutionBody,
          query=(Query(name="qualifier", about="go on with this version, alias or $LATEST; absent: the one that it began with"),)),
    comet("signal_execution", "POST", "/executions/{id}/events/{event}", P.FUNCTION_INVOKE,
          "Send an event to an execution; kept until a step takes it", status=202, request=Any,
          response=e.EventSent, max_body_bytes=256 << 10),
    comet("list_state", "GET", FUNCTION + "/state", P.STATE_READ, "Keys of a function's store, in order",
          response=Page[e.StateKeyBody], query=(*PAGING, _PREFIX)),
    comet("get_state", "GET", FUNCTION + "/state/{key:path}", P.STATE_READ, "One key with its value",
          response=e.StateValueBody),
    comet("put_state", "PUT", FUNCTION + "/state/{key:path}", P.STATE_WRITE, "Keep a value under a key",
          request=e.StatePut, response=e.StateWritten, max_body_bytes=512 << 10),
    comet("delete_state", "DELETE", FUNCTION + "/state/{key:path}", P.STATE_WRITE, "Delete a key", status=204,
          query=(_IF_VERSION,)),
    comet("list_shared_state", "GET", "/state/{store}", P.STATE_READ,
          "Keys of a store that the namespace's functions share", response=Page[e.StateKeyBody],
          query=(*PAGING, _PREFIX)),
    comet("get_shared_state", "GET", "/state/{store}/{key:path}", P.STATE_READ, "One key with its value",
          response=e.StateValueBody),
    comet("put_shared_state", "PUT", "/state/{store}/{key:path}", P.STATE_WRITE, "Keep a value under a key",
          request=e.StatePut, response=e.StateWritten, max_body_bytes=512 << 10),
    comet("delete_shared_state", "DELETE", "/state/{store}/{key:path}", P.STATE_WRITE, "Delete a key", status=204,
          query=(_IF_VERSION,)),
)  # fmt: skip
