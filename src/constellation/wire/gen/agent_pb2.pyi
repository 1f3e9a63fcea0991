from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional

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
    __slots__ = ("handler", "function_name", "function_version", "tenant", "namespace", "memory_limit_mb", "concurrency", "env", "code_dir", "log_limit_bytes")
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
    def __init__(self, handler: _Optional[str] = ..., function_name: _Optional[str] = ..., function_version: _Optional[str] = ..., tenant: _Optional[str] = ..., namespace: _Optional[str] = ..., memory_limit_mb: _Optional[int] = ..., concurrency: _Optional[int] = ..., env: _Optional[_Mapping[str, str]] = ..., code_dir: _Optional[str] = ..., log_limit_bytes: _Optional[int] = ...) -> None: ...

class Ready(_message.Message):
    __slots__ = ("ok", "error")
    OK_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ok: bool
    error: bytes
    def __init__(self, ok: _Optional[bool] = ..., error: _Optional[bytes] = ...) -> None: ...
