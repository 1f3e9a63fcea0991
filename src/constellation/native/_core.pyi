# The extension as the type checker sees it: cffi gives no types, so each wrapper states its own.

from typing import Any

lib: Any
ffi: Any
