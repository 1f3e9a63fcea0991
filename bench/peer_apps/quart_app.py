"""A bare Quart application on the handler: what the planes would cost if they did nothing."""

from hello import handler
from quart import Quart, request

app = Quart(__name__)


@app.post("/")
async def invoke():
    return handler(await request.get_json(), None)
