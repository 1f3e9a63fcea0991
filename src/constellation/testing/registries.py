"""The package registries that the tools of this machine are told to use, for tests that need real packages."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from constellation.comet.builds.sources import Source, Sources, sources_of
from constellation.nova.config.sections import BuildSettings


def configured_sources() -> Sources:
    """Return the registries as pip, npm, go and cargo are configured here; what they do not say is the default."""
    usual = sources_of(BuildSettings())
    return Sources(
        pip=_source(_said(sys.executable, "-m", "pip", "config", "get", "global.index-url"), usual.pip),
        npm=_source(_said("npm", "config", "get", "registry").rstrip("/"), usual.npm),
        go=_source(_said("go", "env", "GOPROXY").partition(",")[0], usual.go),
        cargo=_source(_cargo(), usual.cargo),
        maven=usual.maven,
    )


def _source(url: str, usual: Source) -> Source:
    host = urlsplit(url.removeprefix("sparse+")).netloc
    if not host or url in (usual.url, usual.url.rstrip("/")):
        return usual
    return Source(url=url, hosts=usual.hosts)


def _said(*argv: str) -> str:
    if shutil.which(argv[0]) is None:
        return ""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def _cargo() -> str:
    try:
        text = Path("~/.cargo/config.toml").expanduser().read_text()
    except OSError:
        return ""
    found = re.search(r'registry\s*=\s*"([^"]+)"', text)
    return found[1] if found is not None else ""
