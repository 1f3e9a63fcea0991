"""Every section of the configuration, with its defaults. Numbers without a source are chosen."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from constellation.nova.config.issuers import LOOPBACK, Issuer
from constellation.nova.config.oidc import Provider
from constellation.nova.config.packages import PUBLIC_PACKAGES, PackageSettings
from constellation.nova.config.setting import Kind, setting
from constellation.nova.config.tls import (
    CALLER_TLS_OFF,
    PLANE_TLS_OFF,
    PUBLIC_TLS_OFF,
    CallerTlsSettings,
    KeyFault,
    PlaneTlsSettings,
    PublicTlsSettings,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformSettings:
    """Section `platform`: what all planes of one platform share."""

    state_dir: str = setting("state_dir", "", env="NOVA_STATE_DIR")  # empty: by user, see base.statedir
    log_level: str = setting("log_level", "info", choices=("debug", "info", "warning", "error"), env="NOVA_LOG_LEVEL")
    log_format: str = setting("log_format", "text", choices=("text", "json"), env="NOVA_LOG_FORMAT")
    node: str = setting("node", "", env="NOVA_NODE_ID")  # empty: the host's name
    admin: str = setting("admin", "")  # HOST:PORT for health and telemetry besides the socket
    native_lane: bool = setting("native_lane", True, kind=Kind.BOOL)  # C owns the ports; false: the Python servers do
    service_token: str = setting("service_token", "", env="NOVA_SERVICE_TOKEN", is_secret=True)  # empty: state file
    identity_key: str = setting("identity_key", "", env="NOVA_IDENTITY_KEY", is_secret=True)  # empty: state file


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresSettings:
    """Section `postgres`."""

    dsn: str = setting("dsn", "", env="NOVA_PG_DSN", is_secret=True)  # empty: embedded
    max_conns: int = setting("max_conns", 8, kind=Kind.INT, low=1, high=500)  # a plane
    min_conns: int = setting("min_conns", 1, kind=Kind.INT, low=0, high=500)
    statement_timeout_s: float = setting("statement_timeout", 10.0, kind=Kind.DURATION, low=0.1, high=600)
    acquire_timeout_s: float = setting("acquire_timeout", 5.0, kind=Kind.DURATION, low=0.1, high=600)
    role_prefix: str = setting(
        "role_prefix", "constellation"
    )  # of the planes' roles; one a platform on a shared server
    uid: int = setting("uid", 999_999, kind=Kind.INT, low=1, high=2**31)  # of the embedded server under root


@dataclass(frozen=True, slots=True, kw_only=True)
class NovaSettings:
    """Section `nova`."""

    http: str = setting("http", ":9001")
    max_body_bytes: int = setting("max_body", 32 << 20, kind=Kind.SIZE, low=1024)
    seed: bool = setting("seed", True, kind=Kind.BOOL)  # a first start deploys hello-python
    own_hosts: str = setting("own_hosts", "")  # names of the platform itself, by commas: no tenant may serve them


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthSettings:
    """Section `auth`: how people log in."""

    session_ttl_s: float = setting("session_ttl", 43_200.0, kind=Kind.DURATION, low=60, high=90 * 86_400)
    issuers: tuple[Issuer, ...] = setting("issuers", (), kind=Kind.ISSUERS)  # whose JWTs are credentials
    oidc: tuple[Provider, ...] = setting("oidc", (), kind=Kind.PROVIDERS)  # where people log in besides here
    # Where people reach the gateway, https://faas.example.org: providers send them back to it.
    public_url: str = setting("public_url", "")

    def __post_init__(self) -> None:
        url = urlsplit(self.public_url)
        is_fit = url.scheme == "https" or (url.scheme == "http" and url.hostname in LOOPBACK)
        if self.public_url and (not is_fit or url.query or url.fragment):
            raise KeyFault("public_url", "must begin with https://, or http:// of this machine, and have no ? and #")
        if self.oidc and not self.public_url:
            raise KeyFault("public_url", "is missing: providers of auth.oidc send people back to the gateway there")


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretSettings:
    """Section `secrets`."""

    # Empty: a file in the state directory. Else one, or "2:NEW,1:OLD"; base64 or hexadecimal of 32 bytes.
    key: str = setting("key", "", env="NOVA_SECRETS_KEY", is_secret=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class CometSettings:
    """Section `comet`."""

    grpc: str = setting("grpc", ":9090")
    nova_url: str = setting("nova_url", "http://127.0.0.1:9001")  # whom it asks for the values of secrets
    max_inflight: int = setting("max_inflight", 4096, kind=Kind.INT, low=1)  # calls in this process, running or waiting
    drain_s: float = setting("drain", 10.0, kind=Kind.DURATION, low=0, high=600)
    low_latency: bool = setting("low_latency", True, kind=Kind.BOOL)  # no deep sleep of the cores while calls flow
    tls: PlaneTlsSettings = PLANE_TLS_OFF


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSettings:
    """Section `state`: what functions keep."""

    max_keys: int = setting("max_keys", 10_000, kind=Kind.INT, low=1, high=10_000_000)  # of one store
    max_steps: int = setting("max_steps", 1000, kind=Kind.INT, low=1, high=100_000)  # of one durable execution


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """Section `pool`."""

    idle_ttl_s: float = setting("idle_ttl", 60.0, kind=Kind.DURATION, low=0.1)
    max_instances: int = setting("max_instances", 256, kind=Kind.INT, low=1)  # on this node
    max_boots: int = setting("max_boots", 8, kind=Kind.INT, low=1, high=1024)  # at a time
    boot_timeout_s: float = setting("boot_timeout", 10.0, kind=Kind.DURATION, low=0.1)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencySettings:
    """Section `idempotency`: how answers of calls with an Idempotency-Key are kept."""

    ttl_s: float = setting("ttl", 86_400.0, kind=Kind.DURATION, low=1, high=30 * 86_400)
    max_answer_bytes: int = setting("max_answer", 1 << 20, kind=Kind.SIZE, low=0, high=64 << 20)  # over it: not kept


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSettings:
    """Section `sandbox`."""

    uid_base: int = setting(
        "uid_base", 1_000_000, kind=Kind.INT, low=65_536
    )  # host uids, 65,536 for each backend of a plane
    tmp_bytes: int = setting("tmp", 64 << 20, kind=Kind.SIZE, low=1 << 20)  # /tmp of an instance
    template_memory_bytes: int = setting("template_memory", 256 << 20, kind=Kind.SIZE, low=0)
    log_limit_bytes: int = setting("log_limit", 64 << 10, kind=Kind.SIZE, low=0)  # printed output kept a call


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSettings:
    """Section `sandboxes`: interactive ones."""

    max_per_tenant: int = setting("max_per_tenant", 20, kind=Kind.INT, low=0, high=10_000)  # 0: none are made
    memory_per_tenant_bytes: int = setting("memory_per_tenant", 8 << 30, kind=Kind.SIZE, low=64 << 20)  # disks included
    max_ttl_s: float = setting("max_ttl", 7 * 86_400.0, kind=Kind.DURATION, low=1)
    tend_s: float = setting("tend", 2.0, kind=Kind.DURATION, low=0.05, high=60)  # between looks at which are due


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimesSettings:
    """Section `runtimes`: interpreters by language, where those that nova.config.interpreters finds are not wanted."""

    node: str = setting("node", "", kind=Kind.PATH)
    deno: str = setting("deno", "", kind=Kind.PATH)
    bun: str = setting("bun", "", kind=Kind.PATH)
    ruby: str = setting("ruby", "", kind=Kind.PATH)
    php: str = setting("php", "", kind=Kind.PATH)
    lua: str = setting("lua", "", kind=Kind.PATH)
    perl: str = setting("perl", "", kind=Kind.PATH)
    r: str = setting("r", "", kind=Kind.PATH)
    elixir: str = setting("elixir", "", kind=Kind.PATH)
    julia: str = setting("julia", "", kind=Kind.PATH)


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerImages:
    """Group `docker.image`: what a runtime's containers are made of; each has the language, and is on the host."""

    python: str = setting("python", "python:3.12-slim")  # 3.11 or newer
    node: str = setting("node", "node:22-slim")  # 20 or newer
    provided: str = setting("provided", "public.ecr.aws/lambda/provided:al2023")
    custom: str = setting("custom", "python:3.12-slim")  # with what its functions' commands name


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerFunctionSettings:
    """Group `docker.functions`: the images that functions are, and whether they are fetched."""

    pull: str = setting("pull", "never", choices=("never", "missing", "always"))  # always: at each deployment
    timeout_s: float = setting("timeout", 600.0, kind=Kind.DURATION, low=1, high=86_400)  # of one pull
    allowed: str = setting("allowed", "*")  # patterns, blanks between them; {tenant} in one is the function's
    credentials: str = setting("credentials", "", kind=Kind.PATH)  # a file as docker login writes it


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerBackendSettings:
    """Section `docker`."""

    socket: str = setting("socket", "/var/run/docker.sock", kind=Kind.PATH)
    image: DockerImages = DockerImages()
    functions: DockerFunctionSettings = DockerFunctionSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSettings:
    """Section `builds`: how code becomes what runs."""

    concurrency: int = setting("concurrency", 0, kind=Kind.INT, low=0, high=256)  # at a time a comet; 0: half the cores
    queue_depth: int = setting("queue_depth", 100, kind=Kind.INT, low=1, high=100_000)  # builds of a tenant in line
    lease_s: float = setting("lease", 30.0, kind=Kind.DURATION, low=0.5)
    safety_poll_s: float = setting("safety_poll", 15.0, kind=Kind.DURATION, low=0.1)
    timeout_s: float = setting("timeout", 600.0, kind=Kind.DURATION, low=1, high=86_400)  # of one build
    memory_bytes: int = setting("memory", 2 << 30, kind=Kind.SIZE, low=64 << 20)
    cpu_millis: int = setting("cpu_millis", 2000, kind=Kind.INT, low=10)
    disk_bytes: int = setting("disk", 1 << 30, kind=Kind.SIZE, low=1 << 20)
    sources: PackageSettings = PUBLIC_PACKAGES


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """Section `invocation_log`: how records of calls are written."""

    batch_rows: int = setting("batch_size", 2000, kind=Kind.INT, low=1, high=100_000)
    buffer_rows: int = setting("buffer_size", 20_000, kind=Kind.INT, low=1)  # over it rows are dropped and counted
    flush_interval_s: float = setting("flush_interval", 0.25, kind=Kind.DURATION, low=0.01)
    retention_days: int = setting("retention_days", 30, kind=Kind.INT, low=1, high=3650)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSettings:
    """Section `audit`: who changed what, and who was refused."""

    buffer_rows: int = setting("buffer_size", 10_000, kind=Kind.INT, low=1, high=1_000_000)  # over it they are counted
    flush_interval_s: float = setting("flush_interval", 0.25, kind=Kind.DURATION, low=0.01, high=60)
    retention_days: int = setting("retention_days", 90, kind=Kind.INT, low=1, high=3650)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationSettings:
    """Section `notifications`."""

    retention_days: int = setting("retention_days", 30, kind=Kind.INT, low=1, high=3650)


@dataclass(frozen=True, slots=True, kw_only=True)
class AiSettings:
    """Section `ai`: an OpenAI-compatible endpoint; without an address and a model AI is off."""

    base_url: str = setting("base_url", "", kind=Kind.URL)
    model: str = setting("model", "")
    key: str = setting("key", "", is_secret=True)  # empty: none is sent
    timeout_s: float = setting("timeout", 120.0, kind=Kind.DURATION, low=1, high=600)  # of one answer
    max_tokens: int = setting("max_tokens", 4096, kind=Kind.INT, low=16, high=131_072)  # of one answer


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSettings:
    """Section `databases`: those that functions use."""

    own_server: bool = setting("own_server", True, kind=Kind.BOOL)  # the platform makes some, on a server of its own
    per_tenant: int = setting("per_tenant", 10, kind=Kind.INT, low=0, high=10_000)  # of those
    size_bytes: int = setting(
        "size", 1 << 30, kind=Kind.SIZE, low=16 << 20, high=1 << 40
    )  # of one, unless it says otherwise
    max_size_bytes: int = setting("max_size", 10 << 30, kind=Kind.SIZE, low=16 << 20, high=1 << 40)  # that one may say
    uid: int = setting("uid", 999_998, kind=Kind.INT, low=1, high=2**31)  # of that server under root
    # Of external servers, by commas: those that may be reached although they are this host or its link
    networks: str = setting("networks", "")
    max_sessions: int = setting(
        "max_sessions", 500, kind=Kind.INT, low=1, high=100_000
    )  # of all functions on one comet


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceSettings:
    """Section `prices`: what calls are said to cost; the defaults are what public clouds ask."""

    currency: str = setting("currency", "USD")
    call: float = setting("call", 2e-7, kind=Kind.NUMBER, low=0)
    gb_second: float = setting("gb_second", 1.667e-5, kind=Kind.NUMBER, low=0)  # of run time by configured memory
    cold_start: float = setting("cold_start", 0.0, kind=Kind.NUMBER, low=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class CoronaSettings:
    """Section `corona`."""

    lease_s: float = setting("lease", 15.0, kind=Kind.DURATION, low=0.5)
    batch: int = setting("batch", 50, kind=Kind.INT, low=1, high=10_000)
    safety_poll_s: float = setting("safety_poll", 15.0, kind=Kind.DURATION, low=0.1)
    comet_tls: CallerTlsSettings = CALLER_TLS_OFF


@dataclass(frozen=True, slots=True, kw_only=True)
class NebulaSettings:
    """Section `queue`."""

    workers: int = setting("workers", 32, kind=Kind.INT, low=1, high=10_000)  # jobs running at a time
    batch: int = setting("batch", 32, kind=Kind.INT, low=1, high=10_000)
    lease_s: float = setting("lease", 30.0, kind=Kind.DURATION, low=0.5)
    safety_poll_s: float = setting("safety_poll", 5.0, kind=Kind.DURATION, low=0.1)
    call_timeout_s: float = setting("call_timeout", 900.0, kind=Kind.DURATION, low=0.1)
    comet_tls: CallerTlsSettings = CALLER_TLS_OFF


@dataclass(frozen=True, slots=True, kw_only=True)
class AuroraSettings:
    """Section `aurora`."""

    listen: str = setting("listen", ":9002")
    collect_timeout_s: float = setting("collect_timeout", 2.0, kind=Kind.DURATION, low=0.05)
    max_function_labels: int = setting("max_function_labels", 1000, kind=Kind.INT, low=1)
    housekeeping_interval_s: float = setting("housekeeping_interval", 3600.0, kind=Kind.DURATION, low=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketSettings:
    """Group `zenith.sockets`: WebSockets on function URLs."""

    max_open: int = setting("max_open", 1024, kind=Kind.INT, low=0)
    max_open_per_key: int = setting("max_open_per_key", 128, kind=Kind.INT, low=1)
    max_message_bytes: int = setting("max_message", 128 << 10, kind=Kind.SIZE, low=1, high=1 << 20)  # over it: 1009
    idle_timeout_s: float = setting("idle_timeout", 600.0, kind=Kind.DURATION, low=0.1)  # without a message
    max_duration_s: float = setting("max_duration", 7200.0, kind=Kind.DURATION, low=0.1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ZenithSettings:
    """Section `zenith`."""

    listen: str = setting("listen", ":9000")
    nova_url: str = setting("nova_url", "http://127.0.0.1:9001")
    comet_grpc: str = setting("comet_grpc", "127.0.0.1:9090")
    max_body_bytes: int = setting("max_body", 10 << 20, kind=Kind.SIZE, low=1024)
    max_timeout_s: float = setting("max_timeout", 300.0, kind=Kind.DURATION, low=0.1)
    max_inflight: int = setting("max_inflight", 2048, kind=Kind.INT, low=1)
    idle_timeout_s: float = setting("idle_timeout", 60.0, kind=Kind.DURATION, low=1)  # a quiet connection
    read_timeout_s: float = setting("read_timeout", 30.0, kind=Kind.DURATION, low=0.1)  # a body that does not come
    auth: str = setting("auth", "required", choices=("required", "loopback"))
    trusted_uid: int = setting("trusted_uid", -1, kind=Kind.INT)  # with "loopback": whose sockets are the admin's
    cache_ttl_s: float = setting("cache_ttl", 30.0, kind=Kind.DURATION, low=0)  # how long it serves without nova
    trusted_proxies: str = setting("trusted_proxies", "")  # networks; their word about a client's address is believed
    forwarded_header: str = setting("forwarded_header", "x-forwarded-for", choices=("x-forwarded-for", "forwarded"))
    function_domain: str = setting("function_domain", "")  # tenants have hosts for their functions below it
    sockets: SocketSettings = SocketSettings()
    tls: PublicTlsSettings = PUBLIC_TLS_OFF
    comet_tls: CallerTlsSettings = CALLER_TLS_OFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All sections; each plane is handed only what it needs."""

    platform: PlatformSettings = PlatformSettings()
    postgres: PostgresSettings = PostgresSettings()
    nova: NovaSettings = NovaSettings()
    auth: AuthSettings = AuthSettings()
    secrets: SecretSettings = SecretSettings()
    comet: CometSettings = CometSettings()
    pool: PoolSettings = PoolSettings()
    idempotency: IdempotencySettings = IdempotencySettings()
    state: StateSettings = StateSettings()
    sandbox: SandboxSettings = SandboxSettings()
    sandboxes: MachineSettings = MachineSettings()
    runtimes: RuntimesSettings = RuntimesSettings()
    docker: DockerBackendSettings = DockerBackendSettings()
    builds: BuildSettings = BuildSettings()
    invocation_log: LogSettings = LogSettings()
    audit: AuditSettings = AuditSettings()
    notifications: NotificationSettings = NotificationSettings()
    ai: AiSettings = AiSettings()
    databases: DatabaseSettings = DatabaseSettings()
    prices: PriceSettings = PriceSettings()
    corona: CoronaSettings = CoronaSettings()
    queue: NebulaSettings = NebulaSettings()
    aurora: AuroraSettings = AuroraSettings()
    zenith: ZenithSettings = ZenithSettings()
