"""Starts the real Infrastructure Manager on loopback; run by the Python that has it: im_server.py FOLDER PORT.

Two things are set that its configuration file would set: where it listens and where it writes. One is changed: machines
of its Dummy cloud exist on paper only, so nothing can be configured on them. Every machine is treated as one whose
template switches configuration off, which is a case of the service's own.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Serve until a signal ends it."""
    folder, port = sys.argv[1], int(sys.argv[2])
    del sys.argv[1:]  # the service reads its arguments too

    from IM.config import Config

    Config.REST_ADDRESS, Config.REST_PORT = "127.0.0.1", port
    Config.DATA_DB = f"sqlite://{folder}/infrastructures.sqlite"
    Config.LOG_FILE = f"{folder}/service.log"

    from IM.im_service import main as serve
    from IM.VirtualMachine import VirtualMachine

    VirtualMachine.contextualize = lambda _machine: False
    serve()


if __name__ == "__main__":
    main()
