"""The operations on durable executions and on state, as `calls`: functions from their arguments to their `Call`."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from constellation.client.call import Call, call, page_call
from constellation.routes.models import executions as e
from constellation.routes.models.paging import DEFAULT_LIMIT, Page


def invoke_durable(name: str, execution: e.DurableInvoke) -> Call[e.ExecutionBody]:
    """Begin a durable execution; it is committed when this returns."""
    return call("invoke_durable", e.ExecutionBody, params={"name": name}, body=execution)


def list_executions(
    *,
    function: str | None = None,
    status: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    page_size: int = DEFAULT_LIMIT,
) -> Call[Page[e.ExecutionBody]]:
    """Durable executions of the namespace, newest first."""
    query = {"function": function, "status": status, "since": since, "until": until}
    return page_call("list_executions", e.ExecutionBody, page_size=page_size, query=query)


def list_function_executions(
    name: str,
    *,
    status: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    page_size: int = DEFAULT_LIMIT,
) -> Call[Page[e.ExecutionBody]]:
    """Durable executions of a function, newest first. `not_found` (404) when there is no such function."""
    params, query = {"name": name}, {"status": status, "since": since, "until": until}
    return page_call("list_function_executions", e.ExecutionBody, page_size=page_size, params=params, query=query)


def get_execution(execution_id: UUID, *, limit: int = DEFAULT_LIMIT, offset: int = 0) -> Call[e.ExecutionDetail]:
    """One durable execution, and `limit` of its steps from the `offset`th on."""
    query = {"limit": limit, "offset": offset}
    return call("get_execution", e.ExecutionDetail, params={"id": str(execution_id)}, query=query)


def cancel_execution(execution_id: UUID) -> Call[e.ExecutionBody]:
    """End an execution that is not over."""
    return call("cancel_execution", e.ExecutionBody, params={"id": str(execution_id)})


def retry_execution(execution_id: UUID, *, qualifier: str | None = None) -> Call[e.ExecutionBody]:
    """Go on with a failed execution from its last step on, with the version that it began with unless another is named."""
    params, query = {"id": str(execution_id)}, {"qualifier": qualifier}
    return call("retry_execution", e.ExecutionBody, params=params, query=query)


def signal_execution(execution_id: UUID, event: str, payload: object = None) -> Call[e.EventSent]:
    """Send an event to an execution; it is kept until a step takes it."""
    params = {"id": str(execution_id), "event": event}
    return call("signal_execution", e.EventSent, params=params, body=payload)


def list_state(name: str, *, prefix: str | None = None, page_size: int = DEFAULT_LIMIT) -> Call[Page[e.StateKeyBody]]:
    """Keys of a function's store, in order."""
    return page_call("list_state", e.StateKeyBody, page_size=page_size, params={"name": name}, query={"prefix": prefix})


def get_state(name: str, key: str) -> Call[e.StateValueBody]:
    """One key of a function's store."""
    return call("get_state", e.StateValueBody, params={"name": name, "key": key})


def put_state(
    name: str, key: str, value: object = None, *, ttl_s: float | None = None, if_version: int | None = None
) -> Call[e.StateWritten]:
    """Keep a value. `version_conflict` (409) when the key has not `if_version`; 0: it must not be there."""
    body = _put(value, ttl_s, if_version)
    return call("put_state", e.StateWritten, params={"name": name, "key": key}, body=body)


def delete_state(name: str, key: str, *, if_version: int | None = None) -> Call[None]:
    """Delete a key of a function's store."""
    return call("delete_state", None, params={"name": name, "key": key}, query={"if_version": if_version})


def list_shared_state(
    store: str, *, prefix: str | None = None, page_size: int = DEFAULT_LIMIT
) -> Call[Page[e.StateKeyBody]]:
    """Keys of a store that the namespace's functions share, in order."""
    params, query = {"store": store}, {"prefix": prefix}
    return page_call("list_shared_state", e.StateKeyBody, page_size=page_size, params=params, query=query)


def get_shared_state(store: str, key: str) -> Call[e.StateValueBody]:
    """One key of a shared store."""
    return call("get_shared_state", e.StateValueBody, params={"store": store, "key": key})


def put_shared_state(
    store: str, key: str, value: object = None, *, ttl_s: float | None = None, if_version: int | None = None
) -> Call[e.StateWritten]:
    """Keep a value in a shared store; conditions as for `put_state`."""
    body = _put(value, ttl_s, if_version)
    return call("put_shared_state", e.StateWritten, params={"store": store, "key": key}, body=body)


def delete_shared_state(store: str, key: str, *, if_version: int | None = None) -> Call[None]:
    """Delete a key of a shared store."""
    return call("delete_shared_state", None, params={"store": store, "key": key}, query={"if_version": if_version})


def _put(value: object, ttl_s: float | None, if_version: int | None) -> dict[str, Any]:
    wanted = {"value": value, "ttl_s": ttl_s, "if_version": if_version}
    return {name: item for name, item in wanted.items() if name == "value" or item is not None}
