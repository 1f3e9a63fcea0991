"""Where builds get packages: the group `builds.sources`. A URL a kind of package, and the other hosts that it sends tools to.

An empty URL: builds reach nothing of that kind.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

from constellation.nova.config.setting import setting
from constellation.nova.config.tls import KeyFault

_URL = re.compile(r"(?:sparse\+)?https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:/[\x21-\x7e]*)?")
_HOSTS = re.compile(r"[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:\s*,\s*[A-Za-z0-9.-]+(?::[0-9]{1,5})?)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageSettings:
    """`builds.sources`. Hosts are HOST or HOST:PORT, with commas between them."""

    pip: str = setting("pip", "https://pypi.org/simple")
    pip_hosts: str = setting("pip_hosts", "files.pythonhosted.org")
    npm: str = setting("npm", "https://registry.npmjs.org")
    npm_hosts: str = setting("npm_hosts", "")
    go: str = setting("go", "https://proxy.golang.org")
    go_hosts: str = setting("go_hosts", "sum.golang.org")
    cargo: str = setting("cargo", "sparse+https://index.crates.io/")
    cargo_hosts: str = setting("cargo_hosts", "static.crates.io, crates.io")
    maven: str = setting("maven", "https://repo.maven.apache.org/maven2")
    maven_hosts: str = setting("maven_hosts", "")

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name.endswith("_hosts"):
                if value and _HOSTS.fullmatch(value) is None:
                    raise KeyFault(f.name, "must be hosts, each HOST or HOST:PORT, with commas between them")
            elif value and _URL.fullmatch(value) is None:  # no user and password: it is shown to whoever builds
                raise KeyFault(f.name, "must be an http or https URL without a user")


PUBLIC_PACKAGES = PackageSettings()
