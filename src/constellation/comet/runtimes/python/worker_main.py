"""The python worker where no fork server is: started by exec, below ct-guest, with its channel as descriptor 3."""

import os
import sys


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path.insert(0, here)
    import worker

    sys.path.remove(here)
    for name in worker.OWN_MODULES:
        del sys.modules[name]  # a function may have a module of that name
    sys.path_importer_cache.pop(here, None)
    sys.argv = []
    worker.main(3)


main()
