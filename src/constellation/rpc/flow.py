"""How much grpclib's connections take in before their owner reads it."""

from __future__ import annotations

from grpclib.config import Configuration

_STREAM_BYTES = 256 << 10  # chosen: as much of a stream waits where nobody takes it
_CONNECTION_BYTES = (
    1 << 31
) - 1  # all that HTTP/2 knows: else streams that nobody reads use it up and stop their neighbours


def flow(*, server_name: str | None = None) -> Configuration:
    """Return grpclib's settings; `server_name` is the one that a certificate must have, where it is not the host's."""
    return Configuration(
        http2_stream_window_size=_STREAM_BYTES,
        http2_connection_window_size=_CONNECTION_BYTES,
        ssl_target_name_override=server_name,
    )
