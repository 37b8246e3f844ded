"""Its command line; each command loads what it needs and no more, since every call compiles that anew."""

from __future__ import annotations

import platform
import signal
import sys
from pathlib import Path

from k3s_standin.machine import faults, machine_architecture
from k3s_standin.process import STOP, VERSION, FatalError, log


def main(arguments: list[str]) -> int:
    """Entry point; returns the exit code."""
    program = Path(sys.argv[0]).name
    built_for = faults().get("built_for", machine_architecture())
    if built_for != machine_architecture():
        print(f"{sys.argv[0]}: cannot execute binary file: Exec format error", file=sys.stderr)
        return 126
    if program in {"kubectl", "ctr", "crictl"}:
        arguments = [program, *arguments]
    if not arguments or arguments[0] in {"--help", "-h", "help"}:
        print(
            "usage: k3s --version | server | agent | kubectl | ctr | etcd-snapshot | certificate (a stand-in for K3s)"
        )
        return 0
    command, rest = arguments[0], arguments[1:]
    if command in {"--version", "-v"}:
        print(f"k3s version {VERSION} (stand-in for K3s, runs no pods)\npython version {platform.python_version()}")
        return 0
    if command in {"server", "agent"}:
        return serve(command, rest)
    return run_command(command, rest)


def serve(role: str, arguments: list[str]) -> int:
    """Be a node until told to stop; the exit code."""
    from k3s_standin.options import load_options  # noqa: PLC0415 - commands do without it

    if role == "server":
        from k3s_standin.server import run_server as run  # noqa: PLC0415 - it is most of the program
    else:
        from k3s_standin.agent import run_agent as run  # noqa: PLC0415 - the same
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: STOP.set())
    try:
        run(load_options(arguments))
    except (FatalError, OSError) as reason:
        log("fatal", str(reason))
        return 1
    return 0


def run_command(command: str, arguments: list[str]) -> int:
    """Do what is asked and end; the exit code."""
    if command == "kubectl":
        from k3s_standin.kubectl import kubectl  # noqa: PLC0415 - called often

        return kubectl(arguments)
    from k3s_standin import other_commands  # noqa: PLC0415 - called seldom

    if command == "crictl":
        return other_commands.ctr(["images", "ls"] if "images" in arguments else arguments)
    commands = {
        "ctr": other_commands.ctr,
        "etcd-snapshot": other_commands.etcd_snapshot,
        "certificate": other_commands.certificate,
    }
    if command in commands:
        return commands[command](arguments)
    print(f"No help topic for '{command}'", file=sys.stderr)
    return 3


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
