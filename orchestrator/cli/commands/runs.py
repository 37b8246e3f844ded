"""List the runs of a deployment: when each was, how long it took, how it ended."""

from __future__ import annotations

import argparse

from orchestrator.cli.commands import options
from orchestrator.cli.console import Console
from orchestrator.cli.views import machine
from orchestrator.cli.views.runs import render_runs
from orchestrator.services.runs import find_deployment_with_runs, list_runs


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    options.add_name(parser)
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(args: argparse.Namespace, console: Console) -> int:
    """Print the table."""
    name = find_deployment_with_runs(args.name)
    runs = list_runs(name)
    console.result(machine.render_runs(name, runs) if args.json else render_runs(name, runs))
    return 0
