"""Show every node instance with its lifecycle state, as found now; or what differs from what was made."""

from __future__ import annotations

import argparse

from orchestrator.cli.commands import options
from orchestrator.cli.console import Console
from orchestrator.cli.views import human, machine, recovery
from orchestrator.services.status import read_status


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    options.add_name(parser)
    parser.add_argument("--drift", action="store_true", help="show what differs, property by property")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.add_argument(
        "--detailed-exitcode",
        action="store_true",
        help="exit 3 if anything is not as it should be; with --drift if anything differs",
    )


def run(args: argparse.Namespace, console: Console) -> int:
    """Print the table."""
    opened = options.open_named(args.name, console)
    statuses = read_status(opened)
    if args.json:
        console.result(machine.render_status(opened.name, statuses))
    else:
        console.result((recovery.render_drift if args.drift else human.render_status)(opened.name, statuses))
    as_it_should_be = not any(s.drift for s in statuses) if args.drift else all(s.is_well for s in statuses)
    return 3 if args.detailed_exitcode and not as_it_should_be else 0
