"""Interactive sandboxes: made, listed, kept alive, paused, forked, ended, their ports."""

from __future__ import annotations

from collections.abc import Callable

from constellation.base.errors import InvalidRequest
from constellation.comet.dataplane.request import Answer, DataRequest
from constellation.comet.sandboxes.files import File
from constellation.comet.sandboxes.machines import Machines
from constellation.nova.domain.image import read_image
from constellation.nova.domain.sandbox import OnIdle, Sandbox, SandboxState
from constellation.nova.store.sandboxes import NewSandbox, Sandboxes
from constellation.routes.models import sandboxes as m
from constellation.routes.models.paging import Page
from constellation.routes.reading import number_of, page_of

COPIED = ["files below /home/sandbox and /tmp", "environment", "exposed ports"]
LEFT_BEHIND = ["processes and their memory", "open terminals and connections", "pipes and sockets"]


class SandboxRoutes:
    """Operations on sandboxes of the caller's scope."""

    def __init__(self, book: Sandboxes, machines: Machines, *, max_ttl_s: Callable[[str], float]) -> None:
        self._book, self._machines, self._max_ttl_s = book, machines, max_ttl_s

    async def create_sandbox(self, request: DataRequest) -> Answer:
        wanted: m.SandboxCreate = request.json(m.SandboxCreate)
        backend = wanted.backend if wanted.backend != "auto" else "namespace" if wanted.image is None else "docker"
        if wanted.image is not None and backend != "docker":
            raise InvalidRequest(f"an image runs in the backend docker, not in {backend}", field="image")
        self._check_ttl(request.tenant, wanted.ttl_s)
        files = [_file(file, f"files[{at}]") for at, file in enumerate(wanted.files)]
        made = await self._machines.create(
            NewSandbox(
                tenant=request.tenant,
                namespace=request.namespace,
                template=wanted.template,
                backend=backend,
                image="" if wanted.image is None else read_image(wanted.image).text,
                memory_mb=wanted.memory_mb,
                cpu_millis=wanted.cpu_millis,
                disk_mb=wanted.disk_mb,
                processes=wanted.processes,
                ttl_s=wanted.ttl_s,
                idle_timeout_s=wanted.idle_timeout_s,
                on_idle=OnIdle(wanted.on_idle),
                env=wanted.env,
            ),
            files=files,
        )
        return Answer(body=body_of(made), headers={"Location": f"/sandboxes/{made.id}"})

    async def list_sandboxes(self, request: DataRequest) -> Page[m.SandboxBody]:
        window = request.window
        found = await self._book.list(
            request.tenant,
            request.namespace,
            state=request.query_choice("state", SandboxState),
            limit=window.limit,
            offset=window.offset,
        )
        return page_of(found, window, body_of)

    async def get_sandbox(self, request: DataRequest) -> m.SandboxBody:
        return body_of(await self._book.get(request.tenant, request.namespace, request.id()))

    async def delete_sandbox(self, request: DataRequest) -> m.SandboxBody:
        return body_of(await self._machines.remove(request.tenant, request.namespace, request.id()))

    async def keep_sandbox(self, request: DataRequest) -> m.SandboxBody:
        wanted: m.SandboxKeepalive = request.json(m.SandboxKeepalive)
        if wanted.ttl_s is not None:
            self._check_ttl(request.tenant, wanted.ttl_s)
        return body_of(
            await self._book.extend(
                request.tenant,
                request.namespace,
                request.id(),
                ttl_s=wanted.ttl_s,
                idle_timeout_s=wanted.idle_timeout_s,
            )
        )

    async def pause_sandbox(self, request: DataRequest) -> m.SandboxBody:
        return body_of(await self._machines.pause(request.tenant, request.namespace, request.id()))

    async def resume_sandbox(self, request: DataRequest) -> m.SandboxBody:
        return body_of(await self._machines.resume(request.tenant, request.namespace, request.id()))

    async def fork_sandbox(self, request: DataRequest) -> Answer:
        wanted: m.SandboxFork = request.json(m.SandboxFork)
        self._check_ttl(request.tenant, wanted.ttl_s)
        made = await self._machines.fork(request.tenant, request.namespace, request.id(), ttl_s=wanted.ttl_s)
        return Answer(
            body=m.SandboxForked(sandbox=body_of(made), copied=COPIED, left_behind=LEFT_BEHIND),
            headers={"Location": f"/sandboxes/{made.id}"},
        )

    async def list_sandbox_ports(self, request: DataRequest) -> m.SandboxPorts:
        return _ports(await self._book.get(request.tenant, request.namespace, request.id()))

    async def expose_sandbox_port(self, request: DataRequest) -> m.SandboxPort:
        wanted: m.SandboxExpose = request.json(m.SandboxExpose)
        found = await self._book.expose(request.tenant, request.namespace, request.id(), wanted.port)
        return _port(found, wanted.port)

    async def close_sandbox_port(self, request: DataRequest) -> m.SandboxPorts:
        port = number_of(request.params, "port", default=None, low=1, high=65_535)
        assert port is not None  # the path has it
        return _ports(await self._book.close_port(request.tenant, request.namespace, request.id(), port))

    def _check_ttl(self, tenant: str, ttl_s: float) -> None:
        if ttl_s > (limit_s := self._max_ttl_s(tenant)):
            raise InvalidRequest(f"ttl_s must be at most {limit_s:g}", field="ttl_s")


def body_of(sandbox: Sandbox) -> m.SandboxBody:
    """Return a sandbox as the API shows it; the values of its environment stay here."""
    return m.SandboxBody(
        id=sandbox.id,
        tenant=sandbox.tenant,
        namespace=sandbox.namespace,
        template=sandbox.template,
        backend=sandbox.backend,
        image=sandbox.image,
        state=sandbox.state.value,
        reason=sandbox.reason,
        memory_mb=sandbox.memory_mb,
        cpu_millis=sandbox.cpu_millis,
        disk_mb=sandbox.disk_mb,
        processes=sandbox.processes,
        idle_timeout_s=sandbox.idle_timeout_s,
        on_idle=sandbox.on_idle.value,
        env=sorted(sandbox.env),
        ports=list(sandbox.ports),
        forked_from=sandbox.forked_from,
        node=sandbox.node,
        created_at=sandbox.created_at,
        used_at=sandbox.used_at,
        expires_at=sandbox.expires_at,
        ended_at=sandbox.ended_at,
    )


def _ports(sandbox: Sandbox) -> m.SandboxPorts:
    return m.SandboxPorts(items=[_port(sandbox, port) for port in sandbox.ports])


def _port(sandbox: Sandbox, port: int) -> m.SandboxPort:
    return m.SandboxPort(port=port, path=f"/sandboxes/{sandbox.id}/ports/{port}/")


def _file(file: m.SandboxFile, field: str) -> File:
    if (file.text is None) is (file.base64 is None):
        raise InvalidRequest("a file has either text or base64", field=field)
    content = file.base64 if file.text is None else file.text.encode()
    assert content is not None
    return File(path=file.path, content=content, mode=file.mode)
