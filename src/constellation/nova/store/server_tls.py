"""How servers of databases are proven by their certificates."""

from __future__ import annotations

import ssl

from constellation.nova.domain.database import Tls


def context_for(tls: Tls) -> ssl.SSLContext | None:
    """Return what a connection is wrapped in; None: nothing. Authorities are the host's, or those of SSL_CERT_FILE."""
    if tls is Tls.DISABLE:
        return None
    context = ssl.create_default_context()
    context.check_hostname = tls is Tls.VERIFY_FULL
    if tls is Tls.REQUIRE:
        context.verify_mode = ssl.CERT_NONE
    return context
