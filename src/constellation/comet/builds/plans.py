"""From a build to the plan of its sandbox."""

from __future__ import annotations

import ssl
from pathlib import Path

from constellation.comet.builds.contract import BuildRequest
from constellation.comet.builds.sources import PROXY_PORT, Sources
from constellation.comet.builds.toolchain import RECIPE_DIR, Toolchain, Tools
from constellation.comet.namespace.slots import Limits as SlotLimits
from constellation.comet.namespace.slots import Slot
from constellation.native import libexec_path
from constellation.native.sandbox import Bind, Entry, Limits, Link, Plan, Tmpfs, standard_entries

PROCESSES = 512  # chosen: threads count too; go and javac start a few dozen, cargo one compiler a core
_TMP_MB, _SHM_MB = 64, 16
_INODES = 400_000  # chosen: large trees of node_modules have 100,000 files
_OPEN_FILES = 4096
_SETUP_S = 10.0
_INIT = "/run/ct-build"
_OUTPUT = "/build/out"
_PROXY = "/run/sources.sock"
_CA_FILE = "/etc/ssl/certs/ca-certificates.crt"
_CA_FILES = (_CA_FILE, "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
_START = f"umask 022; mkdir -p /build/home /build/tmp {_OUTPUT}; cd /build; . {RECIPE_DIR}/"


def limits_of(request: BuildRequest) -> SlotLimits:
    """Return what the control group allows: files in the build's directory are memory, and count on top."""
    return SlotLimits(memory_mb=request.memory_mb + request.disk_mb, cpu_millis=request.cpu_millis, processes=PROCESSES)


def plan_of_build(
    request: BuildRequest,
    slot: Slot,
    toolchain: Toolchain,
    tools: Tools,
    *,
    sources: Sources | None,
    proxy: Path | None,
    cache: Path | None,
    script: str,
    may_share_memory: bool,
    output_link: str = "",
) -> Plan:
    """Return the sandbox of a build that runs a script of the recipe.

    Args:
        proxy: the socket of its way out, if it has one.
        sources: where packages come from, if it may ask.
        cache: what the recipe's seed has left, if it has one.
        output_link: another place at which the script finds what it makes, if it needs one.
    """
    binds: list[Entry] = [
        Bind(source=str(request.sources), target="/src"),
        Bind(source=str(toolchain.recipe), target=RECIPE_DIR),
        Bind(source=str(libexec_path("ct-build")), target=_INIT),
        *tools.binds,
    ]
    if toolchain.shared is not None:
        binds.append(Bind(source=str(toolchain.shared[0]), target=toolchain.shared[1]))
    trusted = next((path for path in _trusted() if Path(path).is_file()), None)
    if trusted is not None:
        binds.append(Bind(source=trusted, target=_CA_FILE))
    if cache is not None:
        binds.append(Bind(source=str(cache), target="/run/cache"))
    if proxy is not None:
        binds.append(Bind(source=str(proxy), target=_PROXY))
    if output_link:
        binds.append(Link(to=_OUTPUT, target=output_link))
    leaf = slot.leaf
    return Plan(
        host_uid=slot.uid,
        host_gid=slot.gid,
        entries=(
            *standard_entries(prefixes=tools.prefixes, tmp_bytes=_TMP_MB << 20, shm_bytes=_SHM_MB << 20),
            *binds,
            Tmpfs(target="/build", size_bytes=request.disk_mb << 20, inodes=_INODES),
        ),
        argv=(
            _INIT,
            _PROXY if proxy is not None else "",
            str(PROXY_PORT),
            _OUTPUT,
            "/bin/sh",
            "-euc",
            _START + script,
        ),
        env=_env_of(request, tools, sources),
        hostname="build",
        workdir="/build",
        limits=Limits(open_files=_OPEN_FILES, processes=PROCESSES),
        cgroup_dir=leaf.cgroup_dir if leaf is not None else "",
        task_files=leaf.task_files if leaf is not None else (),
        setup_s=_SETUP_S,
        is_alone=True,  # the sources are this build's
        may_share_memory=may_share_memory,
    )


def _env_of(request: BuildRequest, tools: Tools, sources: Sources | None) -> dict[str, str]:
    module, _, name = request.handler.rpartition(".")
    return {
        "PATH": tools.search,
        "LANG": "C.UTF-8",
        "HOME": "/build/home",
        "TMPDIR": "/build/tmp",
        "HANDLER_MODULE": module.replace(".", "/"),
        "HANDLER_NAME": name,
        "BUILD_JOBS": str(max(1, request.cpu_millis // 1000)),
        "SSL_CERT_FILE": _CA_FILE,
        "PIP_CERT": _CA_FILE,
        "NODE_EXTRA_CA_CERTS": _CA_FILE,
        "CARGO_HTTP_CAINFO": _CA_FILE,
        **(sources.env() if sources is not None else {}),
        **tools.env,
    }


def _trusted() -> tuple[str, ...]:
    usual = ssl.get_default_verify_paths().cafile
    return (usual, *_CA_FILES) if usual is not None else _CA_FILES
