"""What Python adds to comet's lane in C: the words of refusals, the identities it may trust, how rows begin."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import UUID

from constellation.base.errors import ConstellationError, InvalidRequest, Overloaded
from constellation.comet.backend.contract import CallTimeout, InstanceDied, OutputInvalid
from constellation.comet.pool.pool import Pool
from constellation.comet.pool.wording import node_refusal, refusal
from constellation.comet.refusals import FunctionHalted, InflightLimit, QueueFull, QueueWaitTimeout
from constellation.native.h2 import Port
from constellation.native.lane import Lane, LaneCase, Words
from constellation.native.link import Links
from constellation.native.reactor import Reactor
from constellation.native.table import Table
from constellation.native.table_values import Detail, Identity, Status
from constellation.nova.domain.function import Function
from constellation.nova.domain.rule import invoke_rule
from constellation.nova.store.rows import row_head
from constellation.rpc.caller import Caller
from constellation.rpc.problems import TRAILER, status_of, trailer_of


class LaneKeeper:
    """Owns the lane of one node. A watcher of the function cache: each function's static refusals go down with its row."""

    def __init__(
        self,
        reactor: Reactor,
        links: Links,
        table: Table,
        pool: Pool,
        *,
        on_records: Callable[[], None],
        service_token: str,
        node: str,
    ) -> None:
        self._table, self._pool, self._node = table, pool, node
        self._lane = Lane(
            reactor,
            table,
            links,
            authorization=f"Bearer {service_token}",
            words=self._words,
            on_effects=pool.run_effects_nowait,
            on_records=on_records,
        )

    def attach(self, port: Port) -> None:
        """Serve what a port takes in, until it is closed."""
        self._lane.attach(port)

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Close it at the block's end."""
        try:
            yield
        finally:
            self.close()

    def close(self) -> None:
        """End the calls in hand; may be repeated."""
        self._lane.close()

    def hear_records(self) -> None:
        """Have `on_records` called for the next record again."""
        self._lane.hear_records()

    # Identities.

    def learn(self, caller: Caller) -> None:
        """Let the lane trust a token that was verified here, from its next call on."""
        identity = caller.identity
        rule = invoke_rule(identity)
        self._table.put_identity(
            caller.token.encode(),
            Identity(
                identity.tenant,
                identity.namespace,
                identity.subject,
                rule is not None,
                identity.expires_at_s,
                identity.rate_per_s,
                identity.burst,
                rule or b"",
            ),
        )

    # Words.

    def update(self, function: Function, *, is_suspended: bool) -> None:  # noqa: ARG002  # a watcher's signature
        """Say once what a function's refusals and its rows of the log say every time."""
        served = self._pool.served(*function.slot)
        if served is None:
            return
        self._table.set_row_head(served.handle, row_head(function, node=self._node))
        for status, error in (
            (Status.HALTED, FunctionHalted(function.name)),
            (Status.INFLIGHT_LIMIT, InflightLimit(function.name, function.capacity)),
            (Status.QUEUE_FULL, QueueFull(function.name, function.capacity)),
            (Status.QUEUE_WAIT_TIMEOUT, QueueWaitTimeout(function.name, function.capacity)),
            (Status.OUTPUT_INVALID, OutputInvalid(function.name)),
        ):
            words = _words_of(error)
            self._table.set_refusal(
                served.handle,
                status,
                grpc_status=words.grpc_status,
                message=words.message.encode(),
                problem=words.problem,
            )

    def forget(self, function_id: UUID) -> None:
        """The words go with the function's entry."""

    def unpin(self, function: Function) -> None:
        """Likewise."""

    def remove(self, function_id: UUID) -> None:
        """The words go with the function's entry."""

    def _words(self, case: LaneCase | None) -> Words:
        return _words_of(Overloaded("comet", limit=0) if case is None else self._error(case))

    def _error(self, case: LaneCase) -> ConstellationError:
        verdict = case.verdict
        served = self._pool.served_by(case.function) if case.function else None
        if served is None:
            return node_refusal(verdict)
        boot_error = self._pool.boot_error(case.member) if case.member else None
        if boot_error is not None:
            return boot_error
        name = served.function.name
        match verdict.code:
            case Status.TIMEOUT if verdict.detail == Detail.NONE:
                return CallTimeout(name, after_s=case.timeout_s)
            case Status.INSTANCE_DIED:
                return InstanceDied(name, cause=case.text)
            case Status.OUTPUT_INVALID:
                return OutputInvalid(name)
            case Status.INVALID_REQUEST:
                return InvalidRequest("the payload is not valid JSON")
            case _:
                return refusal(
                    verdict, served.function, subject=case.text, rate_per_s=case.rate_per_s, budget_s=case.given_s
                )


def _words_of(error: ConstellationError) -> Words:
    return Words(status_of(error).value, str(error)[:512], trailer_of(error)[TRAILER])
