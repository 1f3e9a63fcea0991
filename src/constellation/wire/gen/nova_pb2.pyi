from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class InvokeRequest(_message.Message):
    __slots__ = ("function", "payload", "timeout_ms", "qualifier", "sticky_key", "peer")
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    QUALIFIER_FIELD_NUMBER: _ClassVar[int]
    STICKY_KEY_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    function: str
    payload: bytes
    timeout_ms: int
    qualifier: str
    sticky_key: str
    peer: bytes
    def __init__(self, function: _Optional[str] = ..., payload: _Optional[bytes] = ..., timeout_ms: _Optional[int] = ..., qualifier: _Optional[str] = ..., sticky_key: _Optional[str] = ..., peer: _Optional[bytes] = ...) -> None: ...

class InvokeResponse(_message.Message):
    __slots__ = ("request_id", "output", "error", "duration_ms", "cold_start", "version", "replayed")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    COLD_START_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    output: bytes
    error: bytes
    duration_ms: float
    cold_start: bool
    version: str
    replayed: bool
    def __init__(self, request_id: _Optional[str] = ..., output: _Optional[bytes] = ..., error: _Optional[bytes] = ..., duration_ms: _Optional[float] = ..., cold_start: _Optional[bool] = ..., version: _Optional[str] = ..., replayed: _Optional[bool] = ...) -> None: ...

class InvokeChunk(_message.Message):
    __slots__ = ("data", "end")
    DATA_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    end: StreamEnd
    def __init__(self, data: _Optional[bytes] = ..., end: _Optional[_Union[StreamEnd, _Mapping]] = ...) -> None: ...

class StreamEnd(_message.Message):
    __slots__ = ("request_id", "error", "duration_ms", "cold_start", "version")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    COLD_START_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    error: bytes
    duration_ms: float
    cold_start: bool
    version: str
    def __init__(self, request_id: _Optional[str] = ..., error: _Optional[bytes] = ..., duration_ms: _Optional[float] = ..., cold_start: _Optional[bool] = ..., version: _Optional[str] = ...) -> None: ...

class InvokeAsyncRequest(_message.Message):
    __slots__ = ("function", "payload", "max_attempts", "backoff_base_ms", "backoff_max_ms", "idempotency_key", "idempotency_ttl_s", "source", "peer", "qualifier")
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    MAX_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    BACKOFF_BASE_MS_FIELD_NUMBER: _ClassVar[int]
    BACKOFF_MAX_MS_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_TTL_S_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    QUALIFIER_FIELD_NUMBER: _ClassVar[int]
    function: str
    payload: bytes
    max_attempts: int
    backoff_base_ms: int
    backoff_max_ms: int
    idempotency_key: str
    idempotency_ttl_s: int
    source: str
    peer: bytes
    qualifier: str
    def __init__(self, function: _Optional[str] = ..., payload: _Optional[bytes] = ..., max_attempts: _Optional[int] = ..., backoff_base_ms: _Optional[int] = ..., backoff_max_ms: _Optional[int] = ..., idempotency_key: _Optional[str] = ..., idempotency_ttl_s: _Optional[int] = ..., source: _Optional[str] = ..., peer: _Optional[bytes] = ..., qualifier: _Optional[str] = ...) -> None: ...

class InvokeAsyncResponse(_message.Message):
    __slots__ = ("id", "status")
    ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    id: str
    status: str
    def __init__(self, id: _Optional[str] = ..., status: _Optional[str] = ...) -> None: ...

class InvokeDurableRequest(_message.Message):
    __slots__ = ("function", "payload", "execution", "token", "qualifier")
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    QUALIFIER_FIELD_NUMBER: _ClassVar[int]
    function: str
    payload: bytes
    execution: str
    token: int
    qualifier: str
    def __init__(self, function: _Optional[str] = ..., payload: _Optional[bytes] = ..., execution: _Optional[str] = ..., token: _Optional[int] = ..., qualifier: _Optional[str] = ...) -> None: ...

class InvokeDurableResponse(_message.Message):
    __slots__ = ("answer",)
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    answer: InvokeResponse
    def __init__(self, answer: _Optional[_Union[InvokeResponse, _Mapping]] = ...) -> None: ...

class Header(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: bytes
    def __init__(self, name: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...

class ProxyHTTPRequest(_message.Message):
    __slots__ = ("method", "path", "query", "headers", "body", "peer")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    method: str
    path: str
    query: bytes
    headers: _containers.RepeatedCompositeFieldContainer[Header]
    body: bytes
    peer: bytes
    def __init__(self, method: _Optional[str] = ..., path: _Optional[str] = ..., query: _Optional[bytes] = ..., headers: _Optional[_Iterable[_Union[Header, _Mapping]]] = ..., body: _Optional[bytes] = ..., peer: _Optional[bytes] = ...) -> None: ...

class ProxyHTTPResponse(_message.Message):
    __slots__ = ("status", "headers", "body")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    status: int
    headers: _containers.RepeatedCompositeFieldContainer[Header]
    body: bytes
    def __init__(self, status: _Optional[int] = ..., headers: _Optional[_Iterable[_Union[Header, _Mapping]]] = ..., body: _Optional[bytes] = ...) -> None: ...

class TunnelOpen(_message.Message):
    __slots__ = ("path", "query")
    PATH_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    path: str
    query: bytes
    def __init__(self, path: _Optional[str] = ..., query: _Optional[bytes] = ...) -> None: ...

class TunnelPiece(_message.Message):
    __slots__ = ("open", "data", "error", "control", "end")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    CONTROL_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    open: TunnelOpen
    data: bytes
    error: bytes
    control: bytes
    end: bool
    def __init__(self, open: _Optional[_Union[TunnelOpen, _Mapping]] = ..., data: _Optional[bytes] = ..., error: _Optional[bytes] = ..., control: _Optional[bytes] = ..., end: _Optional[bool] = ...) -> None: ...

class StatsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class FunctionStats(_message.Message):
    __slots__ = ("tenant", "namespace", "function", "idle", "busy", "booting", "inflight", "queued")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    IDLE_FIELD_NUMBER: _ClassVar[int]
    BUSY_FIELD_NUMBER: _ClassVar[int]
    BOOTING_FIELD_NUMBER: _ClassVar[int]
    INFLIGHT_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    namespace: str
    function: str
    idle: int
    busy: int
    booting: int
    inflight: int
    queued: int
    def __init__(self, tenant: _Optional[str] = ..., namespace: _Optional[str] = ..., function: _Optional[str] = ..., idle: _Optional[int] = ..., busy: _Optional[int] = ..., booting: _Optional[int] = ..., inflight: _Optional[int] = ..., queued: _Optional[int] = ...) -> None: ...

class StatsResponse(_message.Message):
    __slots__ = ("functions", "instances", "invocations", "cold_starts", "uptime_s")
    FUNCTIONS_FIELD_NUMBER: _ClassVar[int]
    INSTANCES_FIELD_NUMBER: _ClassVar[int]
    INVOCATIONS_FIELD_NUMBER: _ClassVar[int]
    COLD_STARTS_FIELD_NUMBER: _ClassVar[int]
    UPTIME_S_FIELD_NUMBER: _ClassVar[int]
    functions: _containers.RepeatedCompositeFieldContainer[FunctionStats]
    instances: int
    invocations: int
    cold_starts: int
    uptime_s: float
    def __init__(self, functions: _Optional[_Iterable[_Union[FunctionStats, _Mapping]]] = ..., instances: _Optional[int] = ..., invocations: _Optional[int] = ..., cold_starts: _Optional[int] = ..., uptime_s: _Optional[float] = ...) -> None: ...
