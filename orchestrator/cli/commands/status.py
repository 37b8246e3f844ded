"""Show every node instance with its lifecycle state, as found now."""

from __future__ import annotations

import argparse

from orchestrator.cli.commands import options
from orchestrator.cli.console import Console
from orchestrator.cli.views import human, machine
from orchestrator.services.status import read_status


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    options.add_name(parser)
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.add_argument("--detailed-exitcode", action="store_true", help="exit 3 if anything is not as it should be")


def run(args: argparse.Namespace, console: Console) -> int:
    """Print the table."""
    opened = options.open_named(args.name, console)
    statuses = read_status(opened)
    text = machine.render_status(opened.name, statuses) if args.json else human.render_status(opened.name, statuses)
    console.result(text)
    return 3 if args.detailed_exitcode and not all(s.is_well for s in statuses) else 0
