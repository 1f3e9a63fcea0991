"""How much grpclib's connections take in before their owner reads it."""

from __future__ import annotations

from grpclib.config import Configuration

from constellation.rpc.unary_wire import MAX_WINDOW

_STREAM_BYTES = 256 << 10  # chosen: as much of a stream waits where nobody takes it


def flow(*, server_name: str | None = None) -> Configuration:
    """Return grpclib's settings; `server_name` is the one that a certificate must have, where it is not the host's."""
    return Configuration(
        http2_stream_window_size=_STREAM_BYTES,
        # Streams that nobody reads would use up a smaller one and stop their neighbours.
        http2_connection_window_size=MAX_WINDOW,
        ssl_target_name_override=server_name,
    )
