"""Open a shell on a machine of a deployment, or run one command there."""

from __future__ import annotations

import argparse

from orchestrator.cli.commands import options
from orchestrator.cli.console import Console
from orchestrator.services.shell import run_shell


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.usage = "deploy ssh [NAME] NODE [-- COMMAND …]"
    parser.add_argument(
        "targets", metavar="[NAME] NODE", nargs="+", help="deployment (default: the only one) and machine"
    )


def run(args: argparse.Namespace, console: Console) -> int:
    """Run the ssh client."""
    names, command = _split(console.arguments, args.targets)
    node = names[-1]
    opened = options.open_named(names[0] if len(names) > 1 else None, console)
    return run_shell(opened, node, command)


def _split(arguments: list[str], targets: list[str]) -> tuple[list[str], list[str]]:
    """Names before ``--`` and the command after it."""
    if "--" in arguments:
        command = arguments[arguments.index("--") + 1 :]
        return targets[: len(targets) - len(command)], command
    return targets[:2], targets[2:]
