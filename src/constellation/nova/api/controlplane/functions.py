"""Functions: create, read, change, delete; their code and their capacity policy."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from msgspec import UNSET, convert, structs, to_builtins

from constellation.base.errors import InvalidRequest, PreconditionFailed, VersionConflict
from constellation.base.ids import uuid7
from constellation.nova.api.controlplane.code import code_body, runtime_for, source_for
from constellation.nova.api.controlplane.destinations import DestinationUses, destinations_body, destinations_of
from constellation.nova.api.controlplane.layers import LayerUses
from constellation.nova.api.controlplane.volumes import VolumeUses
from constellation.nova.api.overtaken import change_function
from constellation.nova.api.request import ApiRequest, Tagged
from constellation.nova.api.tags import check_match, tag_of
from constellation.nova.domain import database
from constellation.nova.domain.access import Identity, Permission, authorize
from constellation.nova.domain.build import Build, BuildOutline
from constellation.nova.domain.deploy import (
    Source,
    backend_of,
    check_concurrency,
    check_env,
    check_handler,
    check_mode,
    check_module,
    check_preload,
    check_replicas,
    check_same_name,
    check_shed_status,
    check_sockets_and_files,
    check_tags,
    runtime_of,
    tag_wanted,
)
from constellation.nova.domain.function import CapacityPolicy, Code, Function, Mode
from constellation.nova.domain.image import read_image
from constellation.nova.domain.names import check_function_name
from constellation.nova.domain.network import NetworkPolicy, check_network
from constellation.nova.domain.runtimes import IMAGE, RuntimeInfo
from constellation.nova.domain.secret import SecretUnknown, check_references, references
from constellation.nova.domain.volume_mount import VolumeMount
from constellation.nova.store.builds import Builds
from constellation.nova.store.databases import Databases
from constellation.nova.store.executors import Executors
from constellation.nova.store.functions import Functions
from constellation.nova.store.secrets import Secrets
from constellation.routes.models.builds import BuildSummary
from constellation.routes.models.functions import (
    CapacityPolicyBody,
    CodeBody,
    CodeUpdate,
    Deleted,
    FileBody,
    FunctionBody,
    FunctionCreate,
    FunctionUpdate,
    NetworkPolicyBody,
    VolumeMountBody,
)
from constellation.routes.models.paging import Page
from constellation.routes.reading import page_of

_NO_BODY: Any = UNSET
NeedsBuild = Callable[[RuntimeInfo, Mapping[str, bytes]], bool]


class FunctionRoutes:
    """Operations on functions of the caller's namespace."""

    def __init__(
        self,
        functions: Functions,
        builds: Builds,
        executors: Executors,
        secrets: Secrets,
        layers: LayerUses,
        databases: Databases,
        volumes: VolumeUses,
        destinations: DestinationUses,
        *,
        needs_build: NeedsBuild,
    ) -> None:
        self._functions, self._builds, self._executors = functions, builds, executors
        self._secrets, self._layers, self._databases, self._volumes = secrets, layers, databases, volumes
        self._destinations, self._needs_build = destinations, needs_build

    async def create_function(self, call: ApiRequest[FunctionCreate]) -> Tagged[FunctionBody]:
        body = call.body
        tenant, namespace = call.scope
        authorize(call.identity, Permission.FUNCTION_CREATE, check_function_name(body.name))
        runtime = runtime_for(body.runtime, image=body.image)
        source = await source_for(
            runtime, code=body.code, files=body.files, archive=body.archive, image=body.image, handler=body.handler
        )
        function = Function(
            tenant=tenant,
            namespace=namespace,
            name=body.name,
            id=uuid7(),
            runtime=runtime.id,
            handler=source.handler,
            description=body.description,
            memory_mb=body.memory_mb,
            cpu_millis=body.cpu_millis,
            max_pids=body.max_pids,
            timeout_s=body.timeout_s,
            init_timeout_s=body.init_timeout_s,
            min_replicas=body.min_replicas,
            max_replicas=body.max_replicas,
            instance_concurrency=body.instance_concurrency,
            max_payload_bytes=body.max_payload_bytes,
            halted=body.halted,
            capacity=_policy(body.capacity),
            env=body.env,
            preload=body.preload,
            layers=await self._layers.pins(tenant, body.layers),
            mounts=_mounts(body.mounts),
            backend=backend_of(runtime, body.backend),
            mode=Mode(body.mode),
            log_retention_days=body.log_retention_days,
            network=_network(body.network),
            kept_versions=body.kept_versions,
            tags=body.tags,
            async_destinations=destinations_of(body.async_destinations),
        )
        _check(function)
        await self._destinations.check(call.identity, function)
        await self._layers.check(function)
        await self._volumes.check(function)
        await self._check_egress(function)
        await self._check_named(function)
        needs_build = self._needs_build(runtime, source.files)
        return await self._shown(await self._functions.create(function, source.files, needs_build=needs_build))

    async def list_functions(self, call: ApiRequest[None]) -> Page[FunctionBody]:
        search, tag = call.query.get("search") or None, call.query.get("tag") or None
        if search is not None and not any(map(str.isalnum, search)):
            raise InvalidRequest("search needs a letter or a digit", field="search")
        found = await self._functions.list(
            *call.scope,
            search=search,
            runtime=call.query.get("runtime") or None,
            tag=None if tag is None else tag_wanted(tag),
            visible=call.identity.limit_of(Permission.FUNCTION_READ),
            limit=call.window.limit,
            offset=call.window.offset,
        )
        builds = await self._builds_of(found.items)
        return page_of(found, call.window, lambda function: function_body(function, builds.get(function.id)))

    async def get_function(self, call: ApiRequest[None]) -> Tagged[FunctionBody]:
        function, build = await self._functions.show(*call.scope, call.params["name"])
        return Tagged(body=function_body(function, build), tag=tag_of(function))

    async def update_function(self, call: ApiRequest[FunctionUpdate]) -> Tagged[FunctionBody]:
        async def change(function: Function) -> Function:
            return await self._write(call.identity, function, call.body)

        return await self._shown(await self._change(call, change, is_conditional=call.body.version is not UNSET))

    async def delete_function(self, call: ApiRequest[None]) -> Deleted:
        name, read = call.params["name"], None
        if call.if_match is not None:
            read = await self._read(call)
            check_match(read, call.if_match)
        try:
            await self._functions.delete(*call.scope, name, read=read)
        except VersionConflict as error:
            raise PreconditionFailed("function", name) from error
        return Deleted(status="deleted", name=name)

    async def get_code(self, call: ApiRequest[None]) -> CodeBody:
        function = await self._read(call)
        return code_body(await self._deployed(function))

    async def list_files(self, call: ApiRequest[None]) -> Page[FileBody]:
        window = call.window
        found = await self._functions.files(await self._read(call), limit=window.limit, offset=window.offset)
        return page_of(found, window, lambda file: FileBody(path=file.path, size_bytes=file.size_bytes))

    async def put_code(self, call: ApiRequest[CodeUpdate]) -> Tagged[FunctionBody]:
        body = call.body
        wanted = FunctionUpdate(code=body.code, files=body.files, archive=body.archive, handler=body.handler)
        if (wanted.code, wanted.files, wanted.archive) == (UNSET, UNSET, UNSET):
            raise InvalidRequest("give exactly one of code, files and archive", field="code")

        async def change(function: Function) -> Function:
            return await self._write(call.identity, function, wanted)

        return await self._shown(await self._change(call, change))

    async def get_capacity(self, call: ApiRequest[None]) -> CapacityPolicyBody:
        return _policy_body((await self._read(call)).capacity)

    async def put_capacity(self, call: ApiRequest[CapacityPolicyBody]) -> CapacityPolicyBody:
        return await self._set_capacity(call, _policy(call.body))

    async def delete_capacity(self, call: ApiRequest[None]) -> CapacityPolicyBody:
        return await self._set_capacity(call, CapacityPolicy())

    async def _set_capacity(self, call: ApiRequest[Any], policy: CapacityPolicy) -> CapacityPolicyBody:
        check_shed_status(policy.shed_status_code)

        async def change(function: Function) -> Function:
            return await self._save(function, replace(function, capacity=policy))

        return _policy_body((await self._change(call, change)).capacity)

    async def _read(self, call: ApiRequest[Any]) -> Function:
        return await self._functions.get(*call.scope, call.params["name"])

    async def _change(
        self,
        call: ApiRequest[Any],
        change: Callable[[Function], Awaitable[Function]],
        *,
        is_conditional: bool = False,
    ) -> Function:
        return await change_function(self._functions, call, change, is_conditional=is_conditional)

    async def _write(self, identity: Identity, function: Function, wanted: FunctionUpdate) -> Function:
        if wanted.version is not UNSET and wanted.version != function.version:
            raise VersionConflict("function", function.name)
        given = {name: value for name, value in structs.asdict(wanted).items() if value is not UNSET}
        code, files, archive, image = (given.pop(each, _NO_BODY) for each in ("code", "files", "archive", "image"))
        given.pop("version", None)
        check_same_name(function.name, given.pop("name", function.name))
        runtime = runtime_of(function.runtime)
        if "capacity" in given:
            given["capacity"] = _policy(given["capacity"])
        if "mode" in given:
            given["mode"] = Mode(given["mode"])
        if "network" in given:
            given["network"] = _network(given["network"])
        if "layers" in given:
            given["layers"] = await self._layers.pins(function.tenant, given["layers"])
        if "mounts" in given:
            given["mounts"] = _mounts(given["mounts"])
        if "async_destinations" in given:
            given["async_destinations"] = destinations_of(given["async_destinations"])
        if "backend" in given:
            given["backend"] = backend_of(runtime, given["backend"])
        source: Source | None = None
        if (code, files, archive, image) != (UNSET,) * 4 or (runtime is IMAGE and "handler" in given):
            usual = UNSET if runtime is IMAGE else function.deployed_handler
            source = await source_for(
                runtime, code=code, files=files, archive=archive, image=image, handler=given.get("handler", usual)
            )
            given["handler"] = source.handler
        changed = replace(function, **given)
        _check(changed)
        await self._destinations.check(identity, changed, function.async_destinations)
        if (changed.layers, changed.backend) != (function.layers, function.backend):
            await self._layers.check(changed)
        if (changed.mounts, changed.backend) != (function.mounts, function.backend):
            await self._volumes.check(changed)
        if (changed.network, changed.backend) != (function.network, function.backend):
            await self._check_egress(changed)
        if changed.env != function.env:
            await self._check_named(changed)
        is_new_handler = "handler" in given and changed.handler != function.deployed_handler
        if source is not None:
            return await self._deploy(changed, source.files)
        if is_new_handler:
            sources = (await self._deployed(function)).files
            check_module(runtime, sources, changed.handler)
            return await self._deploy(changed, sources)
        return await self._save(function, replace(changed, handler=function.handler))  # the live one stays so

    async def _check_egress(self, function: Function) -> None:
        """Refuse a policy that no comet can enforce, rather than have every call fail of it."""
        refusal = await self._executors.egress_refusal(function.backend) if function.network.reaches_out else ""
        if refusal:
            raise InvalidRequest(
                f"egress {function.network.egress.value} is not possible here: {refusal}", field="network.egress"
            )

    async def _check_named(self, function: Function) -> None:
        """Refuse a variable that stands for a secret or a database that is not there."""
        wanted = references(function.env)
        missing = await self._secrets.missing(function.tenant, function.namespace, wanted.values()) if wanted else ()
        for variable, name in wanted.items():
            if name in missing:
                raise SecretUnknown(name, variable=variable)
        bound = database.references(function.env)
        missing = await self._databases.missing(function.tenant, function.namespace, bound.values()) if bound else ()
        for variable, name in bound.items():
            if name in missing:
                raise database.DatabaseUnknown(name, variable=variable)

    async def _deploy(self, changed: Function, files: Mapping[str, bytes]) -> Function:
        runtime = runtime_of(changed.runtime)
        return await self._functions.update(
            changed,
            files=files,
            needs_build=self._needs_build(runtime, files),
            is_anew=runtime is IMAGE and not read_image(changed.handler).digest,
        )

    async def _deployed(self, function: Function) -> Code:
        return await self._functions.code(
            function.tenant, function.id, function.deployed_version, is_source_wanted=True
        )

    async def _builds_of(self, functions: Sequence[Function]) -> dict[UUID, Build]:
        return await self._builds.newest(functions[0].tenant, [each.id for each in functions]) if functions else {}

    async def _shown(self, function: Function) -> Tagged[FunctionBody]:
        return await shown(self._builds, function)

    async def _save(self, function: Function, changed: Function) -> Function:
        return function if changed == function else await self._functions.update(changed)


async def shown(builds: Builds, function: Function) -> Tagged[FunctionBody]:
    """Return a function as the API shows it, with its entity tag."""
    newest = await builds.newest(function.tenant, [function.id])
    return Tagged(body=function_body(function, newest.get(function.id)), tag=tag_of(function))


def _check(function: Function) -> None:
    check_handler(runtime_of(function.runtime), function.handler)
    check_env(function.env)
    check_references(function.env)
    database.check_references(function.env)
    check_sockets_and_files(function.env, backend=function.backend, runtime=function.runtime)
    check_preload(function.runtime, function.preload)
    check_replicas(min_replicas=function.min_replicas, max_replicas=function.max_replicas)
    check_concurrency(function.runtime, function.instance_concurrency)
    check_mode(function.mode, function.instance_concurrency)
    check_shed_status(function.capacity.shed_status_code)
    check_network(function.network)
    check_tags(function.tags)


def _policy(body: CapacityPolicyBody) -> CapacityPolicy:
    return CapacityPolicy(**structs.asdict(body))


def _policy_body(policy: CapacityPolicy) -> CapacityPolicyBody:
    return CapacityPolicyBody(**{name: getattr(policy, name) for name in CapacityPolicyBody.__struct_fields__})


def _mounts(body: Sequence[VolumeMountBody]) -> tuple[VolumeMount, ...]:
    return convert(to_builtins(body), tuple[VolumeMount, ...])


def _network(body: NetworkPolicyBody) -> NetworkPolicy:
    return convert(to_builtins(body), NetworkPolicy)


def _network_body(policy: NetworkPolicy) -> NetworkPolicyBody:
    return convert(to_builtins(policy), NetworkPolicyBody)


def function_body(function: Function, build: Build | BuildOutline | None) -> FunctionBody:
    """Return a function as the API shows it; its newest `build` is shown when it is that of the code deployed last."""
    is_shown = build is not None and build.code_version == function.deployed_version
    assert function.created_at is not None
    assert function.updated_at is not None
    return FunctionBody(
        id=function.id,
        tenant=function.tenant,
        namespace=function.namespace,
        name=function.name,
        runtime=function.runtime,
        handler=function.handler,
        description=function.description,
        memory_mb=function.memory_mb,
        cpu_millis=function.cpu_millis,
        max_pids=function.max_pids,
        timeout_s=function.timeout_s,
        init_timeout_s=function.init_timeout_s,
        min_replicas=function.min_replicas,
        max_replicas=function.max_replicas,
        instance_concurrency=function.instance_concurrency,
        max_payload_bytes=function.max_payload_bytes,
        halted=function.halted,
        capacity=_policy_body(function.capacity),
        env=dict(function.env),
        preload=function.preload,
        layers=tuple(pin.shown for pin in function.layers),
        mounts=convert(to_builtins(function.mounts), tuple[VolumeMountBody, ...]),
        backend=function.backend,
        mode=function.mode.value,
        log_retention_days=function.log_retention_days,
        async_destinations=destinations_body(function.async_destinations),
        network=_network_body(function.network),
        image=function.handler if function.runtime == IMAGE.id else None,
        code_version=function.code_version,
        code_hash=function.code_hash,
        live_version=function.live_version,
        kept_versions=function.kept_versions,
        tags=dict(function.tags),
        version=function.version,
        created_at=function.created_at,
        updated_at=function.updated_at,
        pending_version=None if function.pending is None else function.pending.version,
        build=BuildSummary(id=build.id, state=build.state.value, error=build.error) if build and is_shown else None,
    )
