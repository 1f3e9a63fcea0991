"""Lays out a fork server's memory before anything of it is there, then becomes `zygote_server`.

Started by exec as `python -I -S zygote_main.py CT_FORK_PATH CONTROL_FD`. What the interpreter has made by then stays in
small pages, which every fork copies one by one. So this file does next to nothing: compiling a longer one alone would
take the interpreter another mebibyte.
"""

import sys
from _frozen_importlib import module_from_spec, spec_from_loader
from _frozen_importlib_external import ExtensionFileLoader


def _load_fork(path):
    loader = ExtensionFileLoader("ct_fork", path)
    module = module_from_spec(spec_from_loader("ct_fork", loader))
    loader.exec_module(module)
    return module


def main():
    fork = _load_fork(sys.argv[1])
    fork.arrange()
    sys.path.insert(0, __file__.rpartition("/")[0])
    import zygote_server

    zygote_server.main(fork, int(sys.argv[2]))


main()
