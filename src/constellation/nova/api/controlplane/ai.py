"""AI: what is asked of the model, for whom, and how much at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta

import anyio
import msgspec
import structlog

from constellation.base.errors import ConstellationError, InvalidRequest, NotFound, Overloaded
from constellation.nova.ai.endpoint import Asking, End, Endpoint
from constellation.nova.ai.prompts import (
    Behaviour,
    Failure,
    Message,
    analysing,
    explaining,
    generating,
    reviewing,
    testing,
)
from constellation.nova.ai.scrub import hidden_texts, scrubbed
from constellation.nova.api.request import ApiRequest
from constellation.nova.config.live import PLATFORM, InForce
from constellation.nova.domain.access import Permission, authorize
from constellation.nova.domain.advice import advise
from constellation.nova.domain.function import Function
from constellation.nova.domain.secret import references
from constellation.nova.secrets.vault import Vault
from constellation.nova.store.functions import Functions
from constellation.nova.store.invocations import Invocations
from constellation.nova.store.settings import SetValues
from constellation.nova.store.statistics import Statistics
from constellation.nova.store.versions import Versions
from constellation.routes.models.ai import AiAnalyze, AiCode, AiEnd, AiExplain, AiGenerate, AiPiece, AiStatus

log = structlog.get_logger()

KEY = "ai.key"
MAX_ASKED, MAX_ASKED_OF_TENANT = 16, 4  # chosen: at a time; each is a connection that is open for a minute
MAX_FILES = 40  # of a function, that are shown
MAX_FILE_BYTES = 200_000
MAX_FAILURES, MAX_FAILURE_CHARS = 5, 2000  # that are shown, of the newest hundred
MAX_SLOW_CALLS = 5
DAY_S = 86_400.0
CLOSE_S = 1.0  # chosen: a connection is closed, or left to itself

_TOLD_SETTINGS = (
    "memory_mb",
    "cpu_millis",
    "timeout_s",
    "min_replicas",
    "max_replicas",
    "instance_concurrency",
    "mode",
)


class AiOff(ConstellationError):
    """No endpoint and model are set."""

    code, http_status = "ai_off", 409

    def __init__(self) -> None:
        super().__init__(
            "AI is off: a platform administrator turns it on with the settings ai.base_url and ai.model, and ai.key where "
            "the endpoint wants one (orbit settings set ai.base_url https://…/v1)"
        )


class AiRoutes:
    """Operations that ask the model. What is shown to it is the caller's to see, and has no value of a secret."""

    def __init__(
        self,
        endpoint: Endpoint,
        in_force: InForce,
        values: SetValues,
        vault: Vault,
        *,
        functions: Functions,
        versions: Versions,
        invocations: Invocations,
        statistics: Statistics,
    ) -> None:
        self._endpoint, self._in_force, self._values, self._vault = endpoint, in_force, values, vault
        self._functions, self._versions, self._invocations = functions, versions, invocations
        self._statistics = statistics
        self._asked: Counter[str] = Counter()

    async def ai_status(self, _call: ApiRequest[None]) -> AiStatus:
        ai = self._in_force.settings.ai
        return AiStatus(is_on=bool(ai.base_url and ai.model), model=ai.model, has_key=bool(await self._key()))

    async def ai_generate(self, call: ApiRequest[AiGenerate]) -> AsyncIterator[bytes]:
        return await self._ask(call.identity.tenant, generating(call.body.description, runtime=call.body.runtime), ())

    async def ai_review(self, call: ApiRequest[AiCode]) -> AsyncIterator[bytes]:
        sources, runtime, hidden = await self._material(call)
        return await self._ask(call.identity.tenant, reviewing(sources, runtime=runtime), hidden)

    async def ai_tests(self, call: ApiRequest[AiCode]) -> AsyncIterator[bytes]:
        sources, runtime, hidden = await self._material(call)
        return await self._ask(call.identity.tenant, testing(sources, runtime=runtime), hidden)

    async def ai_explain(self, call: ApiRequest[AiExplain]) -> AsyncIterator[bytes]:
        record = await self._invocations.get(*call.scope, call.body.request_id)
        for permission in (Permission.LOG_READ, Permission.FUNCTION_READ):
            authorize(call.identity, permission, record.function_name)
        if record.status == "ok":
            raise InvalidRequest("this call did not fail: there is nothing to explain", field="request_id")
        function = await self._version(call.scope, record.function_name, record.function_version)
        if function is None or function.id != record.function_id:
            raise NotFound("function of the call", record.function_name)
        failure = Failure(
            status=record.status,
            error=record.error or "",
            log=record.log,
            duration_ms=record.duration_ms,
            timeout_s=function.timeout_s,
            memory_mb=function.memory_mb,
        )
        hidden = await self._hidden(function)
        messages = explaining(failure, await self._sources(function), runtime=function.runtime)
        return await self._ask(call.identity.tenant, messages, hidden)

    async def ai_analyze(self, call: ApiRequest[AiAnalyze]) -> AsyncIterator[bytes]:
        name, days = call.body.function, call.body.days
        for permission in (Permission.LOG_READ, Permission.FUNCTION_READ):
            authorize(call.identity, permission, name)
        function = await self._functions.get(*call.scope, name)
        behaviour = await self._behaviour(function, days=days)
        messages = analysing(behaviour, await self._sources(function), runtime=function.runtime)
        return await self._ask(call.identity.tenant, messages, await self._hidden(function))

    async def _behaviour(self, function: Function, *, days: int) -> Behaviour:
        """Return how a function's calls went. Raises `InvalidRequest`: there are none."""
        figures, range_s = self._statistics, days * DAY_S
        total, _ = await figures.figures(*function.key, range_s=range_s, step_s=range_s)
        if not total.calls:
            raise InvalidRequest(
                f"no call of the last {days} days is on record: there is nothing to look at", field="days"
            )
        since = await figures.now() - timedelta(seconds=range_s)
        slowest = await figures.slowest(
            *function.key, range_s=range_s, above_ms=total.p95_ms or 0.0, limit=MAX_SLOW_CALLS
        )
        tenant, namespace, name = function.key
        failed = await self._invocations.list(tenant, namespace, function_name=name, is_error=True, since=since)
        said = dict.fromkeys(
            f"{each.status}: {(each.error or '')[:MAX_FAILURE_CHARS]}"
            for each in failed.items
            if (each.function_id, each.function_version) == (function.id, function.live_version)
        )
        calls = await figures.advice(function, days=days)
        return Behaviour(
            days=days,
            settings={each: getattr(function, each) for each in _TOLD_SETTINGS},
            figures=asdict(total) | {"of the live version": asdict(calls)},
            statuses=await figures.statuses(*function.key, range_s=range_s),
            slowest=[
                f"{each.duration_ms:.1f} ms, {'cold' if each.cold_start else 'warm'}, {each.status}" for each in slowest
            ],
            failures=list(said)[:MAX_FAILURES],
            advice=[f"{each.category}: {each.reasoning}" for each in advise(function, calls, since=since, days=days)],
        )

    async def _material(self, call: ApiRequest[AiCode]) -> tuple[Mapping[str, str], str, Sequence[str]]:
        body = call.body
        if bool(body.function) == bool(body.code):
            raise InvalidRequest("either a function or code is wanted", field="function")
        if body.code:
            return {"code": body.code}, body.runtime, ()
        authorize(call.identity, Permission.FUNCTION_READ, body.function)
        function = await self._functions.get(*call.scope, body.function)
        return await self._sources(function), function.runtime, await self._hidden(function)

    async def _version(self, scope: tuple[str, str], name: str, number: int) -> Function | None:
        """Return a function as the version that a call ran was, or as it is when that is not kept."""
        try:
            return (await self._versions.get(*scope, name, number)).function
        except NotFound:
            return await self._functions.try_get(*scope, name)

    async def _sources(self, function: Function) -> Mapping[str, str]:
        code = await self._functions.code(function.tenant, function.id, function.code_version, is_source_wanted=True)
        shown: dict[str, str] = {}
        for path, data in sorted(code.files.items(), key=lambda file: (file[0].count("/"), file[0])):
            if len(shown) == MAX_FILES or len(data) > MAX_FILE_BYTES or b"\0" in data:
                continue
            shown[path] = data.decode("utf-8", "replace")
        return shown

    async def _hidden(self, function: Function) -> Sequence[str]:
        """Return what no prompt about a function may have in it; without the secrets' values nothing is asked."""
        names = sorted(set(references(function.env).values()))
        values = await self._vault.reveal(function.tenant, function.namespace, names) if names else {}
        plain = {name: value for name, value in function.env.items() if name not in references(function.env)}
        return hidden_texts(values.values(), plain)

    async def _ask(self, tenant: str, messages: Sequence[Message], hidden: Sequence[str]) -> AsyncIterator[bytes]:
        ai = self._in_force.settings.ai
        if not (ai.base_url and ai.model):
            raise AiOff
        if self._asked.total() >= MAX_ASKED:
            raise Overloaded("questions to the AI endpoint", limit=MAX_ASKED)
        if self._asked[tenant] >= MAX_ASKED_OF_TENANT:
            raise Overloaded("questions of this tenant to the AI endpoint", limit=MAX_ASKED_OF_TENANT)
        asking = Asking(
            base_url=ai.base_url,
            model=ai.model,
            key=await self._key(),
            messages=[Message(role=each.role, content=scrubbed(each.content, hidden)) for each in messages],
            max_tokens=ai.max_tokens,
            timeout_s=ai.timeout_s,
        )
        self._asked[tenant] += 1
        try:
            pieces = await self._endpoint.ask(asking)
        except BaseException:
            self._done(tenant)
            raise
        events = self._events(tenant, ai.model, pieces)
        await anext(events)  # it has begun: whoever drops it now ends it, and the connection with it
        return events

    async def _events(
        self, tenant: str, model: str, pieces: AsyncGenerator[str | End, None]
    ) -> AsyncGenerator[bytes, None]:
        try:
            yield b""
            async for piece in pieces:
                if isinstance(piece, End):
                    yield _event("done", AiEnd(model=model, is_cut=piece.is_cut))
                else:
                    yield _event("piece", AiPiece(text=piece))
        except ConstellationError as error:
            log.warning("ai.broke_off", code=error.code, detail=str(error))
            yield _event("error", error.problem())
        finally:
            self._done(tenant)
            with anyio.move_on_after(CLOSE_S, shield=True):
                await pieces.aclose()

    def _done(self, tenant: str) -> None:
        self._asked[tenant] -= 1
        if not self._asked[tenant]:
            del self._asked[tenant]

    async def _key(self) -> str:
        """Return the endpoint's key: what is set at run time, else what nova was started with."""
        held = await self._values.try_get(PLATFORM, KEY)
        if held is not None and held.value is not None:
            return self._vault.open_setting(KEY, held.value)
        return self._in_force.settings.ai.key


def _event(name: str, data: object) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(data))
