"""Functions as rows, and rows as functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import msgspec

from constellation.nova.domain.build import BuildOutline, BuildState
from constellation.nova.domain.function import CapacityPolicy, Function, Mode, PendingCode
from constellation.nova.domain.ingress import OPEN_TO_ALL, CallerKind, IngressPolicy
from constellation.nova.domain.layer_pin import LayerPin
from constellation.nova.domain.network import AllowRule, Egress, NetworkPolicy
from constellation.nova.domain.result_target import NO_DESTINATIONS, Destination, Destinations
from constellation.nova.domain.volume_mount import VolumeMount
from constellation.nova.store.pool import Record

_CAPACITY = tuple(
    field.name for field in fields(CapacityPolicy)
)  # each a column; in the order of `insert` and `update`
_TEXTS = msgspec.json.Decoder(dict[str, str])
_MOUNTS = msgspec.json.Decoder(tuple[VolumeMount, ...])
_RULES = msgspec.json.Decoder(tuple[AllowRule, ...])
# Beside a function in a row: of its newest build, and of the list that it was found in.
_NOT_ITS = frozenset({"build_id", "build_code_version", "build_state", "build_error", "total"})


def settings_of(function: Function) -> tuple[object, ...]:
    """The columns that a caller may set, in the order of `insert` and `update`."""
    return (
        function.runtime,
        function.handler,
        function.description,
        function.memory_mb,
        function.cpu_millis,
        function.max_pids,
        function.timeout_s,
        function.init_timeout_s,
        function.min_replicas,
        function.max_replicas,
        function.instance_concurrency,
        function.max_payload_bytes,
        function.halted,
        *(getattr(function.capacity, name) for name in _CAPACITY),
        msgspec.json.encode(function.env).decode(),
        list(function.preload),
        function.backend,
        function.mode.value,
        function.log_retention_days,
        function.network.egress.value,
        msgspec.json.encode(function.network.allow).decode(),
        list(function.network.deny),
    )


def destinations_of(function: Function) -> tuple[str, str]:
    wanted = function.async_destinations
    return str(wanted.on_success or ""), str(wanted.on_failure or "")


def pending_columns(pending: PendingCode | None) -> tuple[object, ...]:
    return (None, None, None) if pending is None else (pending.version, pending.hash, pending.handler)


def function_of(row: Record | Mapping[str, Any]) -> Function:
    """Return the function that a row of all its columns is; what else the row has is left out."""
    columns = {name: value for name, value in row.items() if name not in _NOT_ITS}
    pop = columns.pop
    capacity = CapacityPolicy(**{name: pop(name) for name in _CAPACITY})
    env, tags = _TEXTS.decode(pop("env")), _TEXTS.decode(pop("tags"))
    ingress = OPEN_TO_ALL
    if "ingress_callers" in columns:
        ingress = _ingress(pop("ingress_callers"), pop("ingress_functions"), pop("ingress_allow"), pop("ingress_deny"))
    preload, layers = tuple(pop("preload")), tuple(map(LayerPin.parse, pop("layers")))
    mounts = _MOUNTS.decode(pop("mounts"))
    destinations = NO_DESTINATIONS
    if (told := (pop("on_success"), pop("on_failure"))) != ("", ""):
        destinations = Destinations(on_success=Destination.parse(told[0]), on_failure=Destination.parse(told[1]))
    mode = Mode(pop("mode"))
    network = NetworkPolicy(
        egress=Egress(pop("egress")),
        allow=_RULES.decode(pop("egress_allow")),
        deny=tuple(pop("egress_deny")),
    )
    version, digest = pop("pending_version"), pop("pending_hash")
    handler, error = pop("pending_handler"), pop("pending_error")
    pending = None if version is None else PendingCode(version=version, hash=digest, handler=handler, error=error)
    return Function(
        **columns,
        capacity=capacity,
        env=env,
        tags=tags,
        preload=preload,
        layers=layers,
        mounts=mounts,
        async_destinations=destinations,
        mode=mode,
        network=network,
        ingress=ingress,
        pending=pending,
    )


def _ingress(
    callers: Sequence[str] | None,
    functions: Sequence[str] | None,
    allow: Sequence[str] | None,
    deny: Sequence[str] | None,
) -> IngressPolicy:
    """Return a policy; where nobody set one, or the query does not ask for it, everybody is let in."""
    if callers is None:
        return OPEN_TO_ALL
    return IngressPolicy(
        callers=tuple(map(CallerKind, callers)),
        functions=tuple(functions or ()),
        allow=tuple(allow or ()),
        deny=tuple(deny or ()),
    )


def build_outline(row: Record) -> BuildOutline | None:
    """Return the newest build that a row of `show` has, if there is one."""
    if row["build_id"] is None:
        return None
    return BuildOutline(
        id=row["build_id"],
        code_version=row["build_code_version"],
        state=BuildState(row["build_state"]),
        error=row["build_error"],
    )
