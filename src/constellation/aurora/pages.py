"""Aurora's HTTP: /metrics for Prometheus, /health for people and probes. Nothing secret is on either."""

from __future__ import annotations

import json

import structlog
from quart import Quart, Response, request
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import MethodNotAllowed as WrongMethod

from constellation.aurora.metrics.registry import TEXT_FORMAT
from constellation.aurora.observability.overview import Overview
from constellation.base.errors import ConstellationError, InvalidRequest, MethodNotAllowed, RouteNotFound

log = structlog.get_logger()


def pages(overview: Overview) -> Quart:
    """Return the app that answers for all planes of this node."""
    app = Quart("aurora", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = 16 << 10  # nobody has anything to send here

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(await overview.exposition(), content_type=TEXT_FORMAT)

    @app.get("/health")
    async def health() -> Response:
        states = await overview.health()
        is_whole = all(state.is_up for state in states)
        body = {
            "status": "ok" if is_whole else "degraded",
            "planes": {
                state.plane: {"status": "up"} if state.is_up else {"status": "down", "reason": state.reason}
                for state in states
            },
        }
        return Response(json.dumps(body), status=200 if is_whole else 503, content_type="application/json")

    @app.errorhandler(ConstellationError)
    async def refuse(error: ConstellationError) -> Response:
        return _problem(error)

    @app.errorhandler(HTTPException)
    async def translate(error: HTTPException) -> Response:
        if isinstance(error, WrongMethod):
            return _problem(MethodNotAllowed(request.method, request.path, allow=sorted(error.valid_methods or ())))
        if error.code == 404:
            return _problem(RouteNotFound(request.path))
        return _problem(InvalidRequest(error.description or error.name))

    @app.errorhandler(Exception)
    async def fail(error: Exception) -> Response:  # the supervision point of one request
        log.error("request.failed", path=request.path, exc_info=error)
        return _problem(ConstellationError("an internal error; the server's log has its trace"))

    return app


def _problem(error: ConstellationError) -> Response:
    response = Response(json.dumps(error.problem()), status=error.http_status, content_type="application/problem+json")
    if error.retry_after_s is not None:
        response.headers["retry-after"] = str(error.retry_after_s)
    if isinstance(error, MethodNotAllowed):
        response.headers["allow"] = ", ".join(error.allow)
    return response
