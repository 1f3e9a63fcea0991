from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Hello(_message.Message):
    __slots__ = ("protocol", "runtime", "version")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    runtime: str
    version: str
    def __init__(self, protocol: _Optional[int] = ..., runtime: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class Init(_message.Message):
    __slots__ = ("handler", "function_name", "function_version", "tenant", "namespace", "memory_limit_mb", "concurrency", "env", "code_dir", "log_limit_bytes", "has_layers")
    class EnvEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    HANDLER_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_NAME_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_VERSION_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    MEMORY_LIMIT_MB_FIELD_NUMBER: _ClassVar[int]
    CONCURRENCY_FIELD_NUMBER: _ClassVar[int]
    ENV_FIELD_NUMBER: _ClassVar[int]
    CODE_DIR_FIELD_NUMBER: _ClassVar[int]
    LOG_LIMIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    HAS_LAYERS_FIELD_NUMBER: _ClassVar[int]
    handler: str
    function_name: str
    function_version: str
    tenant: str
    namespace: str
    memory_limit_mb: int
    concurrency: int
    env: _containers.ScalarMap[str, str]
    code_dir: str
    log_limit_bytes: int
    has_layers: bool
    def __init__(self, handler: _Optional[str] = ..., function_name: _Optional[str] = ..., function_version: _Optional[str] = ..., tenant: _Optional[str] = ..., namespace: _Optional[str] = ..., memory_limit_mb: _Optional[int] = ..., concurrency: _Optional[int] = ..., env: _Optional[_Mapping[str, str]] = ..., code_dir: _Optional[str] = ..., log_limit_bytes: _Optional[int] = ..., has_layers: _Optional[bool] = ...) -> None: ...

class Ready(_message.Message):
    __slots__ = ("ok", "error")
    OK_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ok: bool
    error: bytes
    def __init__(self, ok: _Optional[bool] = ..., error: _Optional[bytes] = ...) -> None: ...

class Ask(_message.Message):
    __slots__ = ("id", "op", "name", "key", "value", "if_version", "ttl_ms", "for_ms", "limit", "after", "seq", "error")
    class Op(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        NONE: _ClassVar[Ask.Op]
        STATE_GET: _ClassVar[Ask.Op]
        STATE_PUT: _ClassVar[Ask.Op]
        STATE_DELETE: _ClassVar[Ask.Op]
        STATE_LIST: _ClassVar[Ask.Op]
        INVOKE: _ClassVar[Ask.Op]
        INVOKE_ASYNC: _ClassVar[Ask.Op]
        STEP: _ClassVar[Ask.Op]
        STEP_DONE: _ClassVar[Ask.Op]
        SLEEP: _ClassVar[Ask.Op]
        WAIT: _ClassVar[Ask.Op]
        WAIT_MESSAGE: _ClassVar[Ask.Op]
        PUBLISH: _ClassVar[Ask.Op]
    NONE: Ask.Op
    STATE_GET: Ask.Op
    STATE_PUT: Ask.Op
    STATE_DELETE: Ask.Op
    STATE_LIST: Ask.Op
    INVOKE: Ask.Op
    INVOKE_ASYNC: Ask.Op
    STEP: Ask.Op
    STEP_DONE: Ask.Op
    SLEEP: Ask.Op
    WAIT: Ask.Op
    WAIT_MESSAGE: Ask.Op
    PUBLISH: Ask.Op
    ID_FIELD_NUMBER: _ClassVar[int]
    OP_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    IF_VERSION_FIELD_NUMBER: _ClassVar[int]
    TTL_MS_FIELD_NUMBER: _ClassVar[int]
    FOR_MS_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    id: int
    op: Ask.Op
    name: str
    key: str
    value: bytes
    if_version: int
    ttl_ms: int
    for_ms: int
    limit: int
    after: str
    seq: int
    error: bytes
    def __init__(self, id: _Optional[int] = ..., op: _Optional[_Union[Ask.Op, str]] = ..., name: _Optional[str] = ..., key: _Optional[str] = ..., value: _Optional[bytes] = ..., if_version: _Optional[int] = ..., ttl_ms: _Optional[int] = ..., for_ms: _Optional[int] = ..., limit: _Optional[int] = ..., after: _Optional[str] = ..., seq: _Optional[int] = ..., error: _Optional[bytes] = ...) -> None: ...

class Reply(_message.Message):
    __slots__ = ("id", "value", "error")
    ID_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    id: int
    value: bytes
    error: bytes
    def __init__(self, id: _Optional[int] = ..., value: _Optional[bytes] = ..., error: _Optional[bytes] = ...) -> None: ...
