"""Send a file to a component and bring back what comes out at the end of the pipeline."""

from __future__ import annotations

import argparse
from pathlib import Path

from orchestrator.cli.commands import options
from orchestrator.cli.console import Console
from orchestrator.errors import UsageError
from orchestrator.services.deployment import open_for_reading
from orchestrator.services.invoke import invoke
from orchestrator.state.model import State


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.usage = "deploy invoke [NAME] COMPONENT FILE -o OUT"
    parser.add_argument(
        "targets", metavar="[NAME] COMPONENT FILE", nargs="+", help="deployment, component, file to send"
    )
    parser.add_argument(
        "-o", "--output", metavar="OUT", type=Path, required=True, help="file (or folder) for the result"
    )
    parser.add_argument("--timeout", metavar="S", type=float, default=120.0, help="seconds to wait (default 120)")


def run(args: argparse.Namespace, console: Console) -> int:
    """Send, wait, fetch."""
    if len(args.targets) not in (2, 3):
        raise UsageError("Wrong number of arguments.", detail="deploy invoke takes [NAME] COMPONENT FILE -o OUT.")
    component, file = args.targets[-2:]
    opened = options.open_named(args.targets[0] if len(args.targets) == 3 else None, console)
    if opened.state is None:
        raise UsageError("There is nothing to invoke.", detail=f"{opened.name} has not been applied.")
    state = opened.state

    def reread() -> State:
        return open_for_reading(opened.name).state or state

    for path in invoke(
        state, opened.secrets, component, Path(file), args.output, args.timeout, console.progress, reread
    ):
        console.result(str(path))
    return 0
