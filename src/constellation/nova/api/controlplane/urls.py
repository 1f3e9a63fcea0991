"""How functions are reached by their URLs: read, set, and back to the defaults."""

from __future__ import annotations

from dataclasses import asdict
from urllib.parse import quote

from msgspec import structs

from constellation.nova.api.request import ApiRequest
from constellation.nova.domain.function_url import DEFAULT_URL, Cors, FunctionUrl, InvokeMode, UrlAuth, check_cors
from constellation.nova.store.function_urls import FunctionUrls
from constellation.routes.models.urls import CorsBody, FunctionUrlBody, FunctionUrlSettings


class UrlRoutes:
    """Operations on the URLs of the functions of the caller's namespace."""

    def __init__(self, urls: FunctionUrls) -> None:
        self._urls = urls

    async def get_function_url(self, call: ApiRequest[None]) -> FunctionUrlBody:
        name = call.params["name"]
        return _body(call, await self._urls.get(*call.scope, name))

    async def put_function_url(self, call: ApiRequest[FunctionUrlSettings]) -> FunctionUrlBody:
        given = call.body
        url = FunctionUrl(
            enabled=given.enabled,
            auth=UrlAuth(given.auth),
            invoke_mode=InvokeMode(given.invoke_mode),
            cors=Cors(**structs.asdict(given.cors)),
        )
        check_cors(url.cors)
        await self._urls.put(*call.scope, call.params["name"], url)
        return _body(call, url)

    async def delete_function_url(self, call: ApiRequest[None]) -> FunctionUrlBody:
        await self._urls.delete(*call.scope, call.params["name"])
        return _body(call, DEFAULT_URL)


def _body(call: ApiRequest[object], url: FunctionUrl) -> FunctionUrlBody:
    parts = (*call.scope, call.params["name"])
    return FunctionUrlBody(
        path="/url/" + "/".join(quote(part, safe="") for part in parts),
        enabled=url.enabled,
        auth=url.auth.value,
        invoke_mode=url.invoke_mode.value,
        cors=CorsBody(**asdict(url.cors)),
    )
