"""Where Node.js, Deno and Bun find packages that are not the function's own: those of its layers."""

from __future__ import annotations

from types import MappingProxyType

_OF_LAYERS = "/opt/nodejs/node_modules"
NODE_PATH = f"/code/node_modules:/code/deps/node_modules:{_OF_LAYERS}"  # of require
# import knows no search path, but looks into node_modules of each directory from the importing file's up to the root.
LINKS = MappingProxyType({"/node_modules": _OF_LAYERS})
