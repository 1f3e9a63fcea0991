"""Bodies of the function routes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from constellation.routes.models.breaker import ErrorPercent, MinSamples, OpenSeconds, Probes, WindowSeconds
from constellation.routes.models.builds import BuildSummary

FunctionNameText = Annotated[str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
MemoryMb = Annotated[int, Meta(ge=32, le=10240)]
CpuMillis = Annotated[int, Meta(ge=10, le=64000)]
MaxPids = Annotated[int, Meta(ge=8, le=4096)]
Seconds = Annotated[float, Meta(ge=0.01, le=900)]
PayloadBytes = Annotated[int, Meta(ge=0, le=6 << 20)]
Replicas = Annotated[int, Meta(ge=0, le=10000)]
MaxReplicas = Annotated[int, Meta(ge=1, le=10000)]
Concurrency = Annotated[int, Meta(ge=1, le=1000)]
Count = Annotated[int, Meta(ge=0, le=1_000_000)]
# "module.function", or for runtime custom a command
Handler = Annotated[str, Meta(min_length=1, max_length=512, pattern=r"^\S(?:.*\S)?$")]
Env = dict[Annotated[str, Meta(pattern="^[A-Za-z_][A-Za-z0-9_]{0,127}$")], Annotated[str, Meta(max_length=32768)]]
Preload = Annotated[
    tuple[Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$", max_length=128)], ...],
    Meta(
        max_length=16,
        description="modules of the code, its deps/ or the layers that instances start with imported; python",
    ),
]
Layers = Annotated[
    tuple[Annotated[str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9_-]{0,63}(:[1-9][0-9]{0,8})?$")], ...],
    Meta(
        max_length=6,
        description='"name:3", or "name" for the newest, which is pinned now; merged read-only on /opt, later over earlier',
    ),
]


class VolumeMountBody(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A volume of the namespace, and where the function's instances have it."""

    volume: Annotated[str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
    path: Annotated[str, Meta(max_length=200, pattern="^/", description="absolute, such as /mnt/data")]
    read_only: bool = False


class DestinationBody(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A function or a topic of the namespace."""

    type: Literal["function", "topic"]
    target: Annotated[str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$", description="its name")]


class AsyncDestinationsBody(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Where the result of a durable call goes: of an async call, a schedule, a delivery or an execution that has ended.

    It goes in the transaction that ends the call: to a function as a durable call of its own, to a topic as a message. The event
    has `id` (of the call), `request_id`, `function`, `namespace`, `version`, `qualifier`, `outcome` (success or failure),
    `attempts`, `source`, `durable`, `accepted_at`, `ended_at`, `request`, `response`, `error`, and `omitted`: which of the last three
    are left out, since it would be larger than 1 MiB, or 256 KiB for a topic. Chains of calls and results end 32 deep.
    """

    on_success: DestinationBody | None = None
    on_failure: Annotated[
        DestinationBody | None, Meta(description="of a call that is given up, its last attempt having failed")
    ] = None


Mounts = Annotated[tuple[VolumeMountBody, ...], Meta(max_length=8, description="volumes, and where they are shown")]
Backend = Annotated[
    Literal["auto", "namespace", "docker", "wasm"],
    Meta(description="the isolator of the instances (GET /backends lists them); auto: the first that the node has"),
]
Mode = Annotated[
    Literal["process", "isolated"],
    Meta(description="process: an instance serves one call after the other; isolated: one call, and is gone"),
]
LogRetentionDays = Annotated[
    int, Meta(ge=0, le=3650, description="how long its calls stay in the log; 0, or more than the platform's: as that")
]
KeptVersions = Annotated[
    int, Meta(ge=1, le=1000, description="how many of the newest versions stay; those in use stay beside them")
]
Tags = Annotated[
    dict[Annotated[str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9_.:/-]{0,63}$")], Annotated[str, Meta(max_length=256)]],
    Meta(max_length=50, description="values by key, to find it by; a change of them makes no version"),
]
Image = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=400,
        description="[registry/]name[:tag][@digest] of a container image that serves HTTP on port 8080; its digest is pinned "
        "when it is deployed, so a moved tag counts with the next deployment",
    ),
]
Archive = Annotated[
    str,
    Meta(min_length=1, description="base64 of a zip, tar or tar.gz of the files; 10 MiB and 1,000 files when unpacked"),
]
CodeFiles = dict[Annotated[str, Meta(min_length=1, max_length=256)], str]


Cidr = Annotated[str, Meta(pattern=r"^[0-9]{1,3}(\.[0-9]{1,3}){3}(/[0-9]{1,2})?$", description="IPv4, 10.1.0.0/16")]


class AllowRuleBody(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A name or a network that a function reaches: exactly one of `host` and `cidr`."""

    host: Annotated[
        str, Meta(max_length=253, description='a name in lower case; "*.example.org": all below example.org')
    ] = ""
    cidr: Annotated[
        str,
        Meta(max_length=18, description="an IPv4 network; one that lies in a private range opens this part of it"),
    ] = ""
    ports: Annotated[
        tuple[Annotated[int, Meta(ge=1, le=65535)], ...],
        Meta(max_length=16, description="none: all but those of name servers, 53 and 853"),
    ] = ()
    protocol: Literal["tcp", "udp"] = "tcp"


class NetworkPolicyBody(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What instances reach. `none`: nothing. `allow-list`: what `allow` names; other names are not even resolved.

    `internet`: every public address, and what `allow` names besides. Names stand for public addresses alone, unless a `cidr`
    opens others; what is in `deny` is not reached in any case, nor are the host, its link (the metadata service) and other
    functions. There is no IPv6.
    """

    egress: Literal["none", "allow-list", "internet"] = "none"
    allow: Annotated[tuple[AllowRuleBody, ...], Meta(max_length=64)] = ()
    deny: Annotated[tuple[Cidr, ...], Meta(max_length=64)] = ()


class CapacityPolicyBody(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """How many calls may be in hand and in line on one comet; what is over is shed with `shed_status_code`.

    And the breaker: when too many of a window's calls fail, calls answer 503 `breaker_open` for a while.
    """

    max_inflight: Annotated[Count, Meta(description="calls running; 0: as many as the instances take")] = 0
    max_queue_depth: Annotated[Count, Meta(description="callers in line for an instance")] = 1000
    max_queue_wait_s: Annotated[float, Meta(ge=0, le=900, description="how long one stays in line")] = 30.0
    shed_status_code: Annotated[int, Meta(description="429 or 503")] = 429
    retry_after_s: Annotated[int, Meta(ge=0, le=3600)] = 1
    breaker_error_percent: ErrorPercent = 0
    breaker_min_samples: MinSamples = 20
    breaker_window_s: WindowSeconds = 10.0
    breaker_open_s: OpenSeconds = 5.0
    breaker_probes: Probes = 1


class FunctionCreate(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A new function. Give one of `code` (a file under the runtime's default name), `files` (path to base64), `archive`, `image`."""

    name: FunctionNameText
    runtime: Annotated[str, Meta(min_length=1, max_length=64, description="needed, but for an image")] | UnsetType = (
        UNSET
    )
    code: str | UnsetType = UNSET
    files: CodeFiles | UnsetType = UNSET
    archive: Archive | UnsetType = UNSET
    image: Image | UnsetType = UNSET
    handler: Handler | UnsetType = UNSET
    description: Annotated[str, Meta(max_length=2000)] = ""
    memory_mb: MemoryMb = 128
    cpu_millis: CpuMillis = 1000
    max_pids: MaxPids = 64
    timeout_s: Seconds = 30.0
    init_timeout_s: Seconds = 10.0
    min_replicas: Replicas = 0
    max_replicas: MaxReplicas = 10
    instance_concurrency: Concurrency = 1
    max_payload_bytes: PayloadBytes = 6 << 20
    halted: bool = False
    capacity: CapacityPolicyBody = CapacityPolicyBody()
    env: Env = {}
    preload: Preload = ()
    layers: Layers = ()
    mounts: Mounts = ()
    async_destinations: AsyncDestinationsBody = AsyncDestinationsBody()
    backend: Backend = "auto"
    mode: Mode = "process"
    log_retention_days: LogRetentionDays = 0
    network: NetworkPolicyBody = NetworkPolicyBody()
    kept_versions: KeptVersions = 100
    tags: Tags = {}


class FunctionUpdate(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What to change; fields that are absent stay. `version` makes it conditional on the row you read."""

    version: int | UnsetType = UNSET
    name: Annotated[FunctionNameText, Meta(description="as it is: a function keeps its name")] | UnsetType = UNSET
    code: str | UnsetType = UNSET
    files: CodeFiles | UnsetType = UNSET
    archive: Archive | UnsetType = UNSET
    image: Image | UnsetType = UNSET
    handler: Handler | UnsetType = UNSET
    description: Annotated[str, Meta(max_length=2000)] | UnsetType = UNSET
    memory_mb: MemoryMb | UnsetType = UNSET
    cpu_millis: CpuMillis | UnsetType = UNSET
    max_pids: MaxPids | UnsetType = UNSET
    timeout_s: Seconds | UnsetType = UNSET
    init_timeout_s: Seconds | UnsetType = UNSET
    min_replicas: Replicas | UnsetType = UNSET
    max_replicas: MaxReplicas | UnsetType = UNSET
    instance_concurrency: Concurrency | UnsetType = UNSET
    max_payload_bytes: PayloadBytes | UnsetType = UNSET
    halted: bool | UnsetType = UNSET
    capacity: CapacityPolicyBody | UnsetType = UNSET
    env: Env | UnsetType = UNSET
    preload: Preload | UnsetType = UNSET
    layers: Layers | UnsetType = UNSET
    mounts: Mounts | UnsetType = UNSET
    async_destinations: AsyncDestinationsBody | UnsetType = UNSET
    backend: Backend | UnsetType = UNSET
    mode: Mode | UnsetType = UNSET
    log_retention_days: LogRetentionDays | UnsetType = UNSET
    network: NetworkPolicyBody | UnsetType = UNSET
    kept_versions: KeptVersions | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET


def entity_tag(function_id: UUID, version: int) -> str:
    """Return the tag of a function's row; one that was deleted and made again has another."""
    return f'"{version}-{function_id.hex[-12:]}"'


class FunctionBody(Struct, kw_only=True, frozen=True):
    """A function as it is."""

    id: UUID
    tenant: str
    namespace: str
    name: str
    runtime: str
    handler: str
    description: str
    memory_mb: int
    cpu_millis: int
    max_pids: int
    timeout_s: float
    init_timeout_s: float
    min_replicas: int
    max_replicas: int
    instance_concurrency: int
    max_payload_bytes: int
    halted: bool
    capacity: CapacityPolicyBody
    env: dict[str, str]
    preload: tuple[str, ...]
    layers: tuple[str, ...]  # each with its version
    mounts: tuple[VolumeMountBody, ...]
    backend: str
    mode: str
    log_retention_days: int
    network: NetworkPolicyBody
    code_version: int  # of the code that runs; 0: none was built yet
    code_hash: str
    version: int
    created_at: datetime
    updated_at: datetime
    async_destinations: AsyncDestinationsBody = AsyncDestinationsBody()
    live_version: int = 0  # of its versions, the one that calls run; 0: there is none yet
    kept_versions: int = 100
    tags: dict[str, str] = {}
    image: str | None = None  # of a container-image function: with the digest that it is pinned to, once it is live
    pending_version: int | None = None  # of newer code that is not live: its build is not done, or has failed
    build: BuildSummary | None = None  # of the code that was deployed last; None: it runs as it is

    @property
    def tag(self) -> str:
        """Its entity tag, as ETag has it and If-Match wants it."""
        return entity_tag(self.id, self.version)


class CodeUpdate(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """New code: `code` (one file), `files` (path to base64) or `archive`; a changed code gets the next `code_version`."""

    code: str | UnsetType = UNSET
    files: CodeFiles | UnsetType = UNSET
    archive: Archive | UnsetType = UNSET
    handler: Handler | UnsetType = UNSET


class CodeBody(Struct, kw_only=True, frozen=True):
    """The files of the version that was deployed last, path to base64; `code` too when there is one text file."""

    function_id: UUID
    code_version: int
    code_hash: str
    files: dict[str, str]
    code: str | None = None


class FileBody(Struct, kw_only=True, frozen=True):
    """One file of the code that was deployed last."""

    path: str
    size_bytes: int


class RuntimeBody(Struct, kw_only=True, frozen=True):
    id: str
    name: str
    version: str
    status: str  # "available" or "unavailable"
    reason: str  # why it is unavailable
    default_handler: str
    file_extension: str
    functions_count: int


class Deleted(Struct, kw_only=True, frozen=True):
    status: str
    name: str
