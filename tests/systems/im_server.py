"""Starts the real Infrastructure Manager on loopback; run by the Python that has it: im_server.py FOLDER PORT.

Two things are set that its configuration file would set: where it listens and where it writes. Two are changed:

- Machines of its Dummy cloud exist on paper only, so nothing can be configured on them. Every machine is treated as one
  whose template switches configuration off, which is a case of the service's own.
- Once the service has read an infrastructure back from its database, it checks no template any longer: it replaces
  tosca-parser's check for the whole process. Here every template that is to be checked gets the check back first.
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
    from IM.tosca.Tosca import Tosca
    from IM.VirtualMachine import VirtualMachine
    from toscaparser.tosca_template import ToscaTemplate

    VirtualMachine.contextualize = lambda _machine: False
    check, read = ToscaTemplate.verify_template, Tosca.__init__

    def read_and_check(self: Tosca, text: str, verify: bool = True, **others: object) -> None:
        if verify:
            ToscaTemplate.verify_template = check
        read(self, text, verify, **others)

    Tosca.__init__ = read_and_check
    serve()


if __name__ == "__main__":
    main()
