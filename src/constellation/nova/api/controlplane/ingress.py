"""Who may call functions: read, set, and back to everybody who may call functions."""

from __future__ import annotations

from msgspec import convert, structs, to_builtins

from constellation.nova.api.request import ApiRequest
from constellation.nova.domain.ingress import OPEN_TO_ALL, CallerKind, IngressPolicy, check_ingress
from constellation.nova.store.functions import Functions
from constellation.nova.store.ingress import Ingress
from constellation.routes.models.ingress import IngressPolicyBody


class IngressRoutes:
    """Operations on the policies of the functions of the caller's namespace."""

    def __init__(self, functions: Functions, ingress: Ingress) -> None:
        self._functions, self._ingress = functions, ingress

    async def get_ingress(self, call: ApiRequest[None]) -> IngressPolicyBody:
        return _body((await self._functions.get(*call.scope, call.params["name"])).ingress)

    async def put_ingress(self, call: ApiRequest[IngressPolicyBody]) -> IngressPolicyBody:
        given = structs.asdict(call.body)
        policy = IngressPolicy(**given | {"callers": tuple(map(CallerKind, call.body.callers))})
        check_ingress(policy)
        await self._ingress.put(*call.scope, call.params["name"], policy)
        return _body(policy)

    async def delete_ingress(self, call: ApiRequest[None]) -> IngressPolicyBody:
        name = call.params["name"]
        await self._functions.get(*call.scope, name)
        await self._ingress.delete(*call.scope, name)
        return _body(OPEN_TO_ALL)


def _body(policy: IngressPolicy) -> IngressPolicyBody:
    return convert(to_builtins(policy), IngressPolicyBody)
