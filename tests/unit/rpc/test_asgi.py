from __future__ import annotations

import asyncio

import anyio
import pytest

from constellation.rpc.asgi import exchange


@pytest.mark.anyio
async def test_what_an_app_says_after_the_hang_up_goes_nowhere():
    """Quart answers in a task of its own, which outlives the request by a little: its last words must not be an error."""
    last_words: list[asyncio.Task[None]] = []

    async def app(scope, receive, send):
        async def late():
            while (await receive())["type"] != "http.disconnect":
                pass
            await asyncio.sleep(0)
            await send({"type": "http.response.body", "body": b"more", "more_body": False})

        last_words.append(asyncio.ensure_future(late()))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await anyio.sleep_forever()

    async with exchange(app, method="GET", path="/", query=b"", headers=(), body=b"") as answer:
        assert answer.head.status == 200
    await asyncio.wait_for(last_words[0], 5)
