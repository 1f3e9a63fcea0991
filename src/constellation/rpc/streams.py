"""grpclib's client, told when an answer ends without a status.

By itself it waits for the status as long as the call has time, and meets an end within a message with an AssertionError.
"""

from __future__ import annotations

from asyncio import BaseTransport

from grpclib.client import Channel, Handler
from grpclib.protocol import EventsProcessor, H2Protocol, Stream
from h2.events import StreamEnded

_STATUS = "grpc-status"


class StreamChannel(Channel):
    """A channel whose streams end with a status, or with StreamTerminatedError."""

    def _protocol_factory(self) -> H2Protocol:
        return _Protocol(Handler(), self._config, self._h2_config)


class _Protocol(H2Protocol):
    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        self.processor = _Processor(self.handler, self.connection)


class _Processor(EventsProcessor):
    def process_stream_ended(self, event: StreamEnded) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is not None and not _has_status(stream):
            stream.__terminated__("its answer was cut off")
        super().process_stream_ended(event)


def _has_status(stream: Stream) -> bool:
    head = dict(stream.headers or ())
    is_http = head.get(":status", "200") != "200"  # a proxy's answer says by that what is wrong
    return is_http or _STATUS in head or _STATUS in dict(stream.trailers or ())
