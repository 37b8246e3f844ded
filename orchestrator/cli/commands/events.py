"""Read again what happened during a run, or follow one that goes on."""

from __future__ import annotations

import argparse

from orchestrator.cli.commands import options
from orchestrator.cli.console import Console
from orchestrator.cli.views import machine
from orchestrator.cli.views.runs import EventTeller, render_run
from orchestrator.services.runs import (
    RUNNING,
    UNRECORDED,
    find_deployment_with_runs,
    find_run,
    follow_events,
    read_events,
    read_run,
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    options.add_name(parser)
    parser.add_argument("--run", metavar="RUN", help="its identifier, or the beginning of it (default: the last run)")
    parser.add_argument("--json", action="store_true", help="as JSON, one event a line")
    parser.add_argument("--follow", action="store_true", help="go on until the run has ended")


def run(args: argparse.Namespace, console: Console) -> int:
    """Print the events."""
    folder = find_run(find_deployment_with_runs(args.name), args.run)
    summary = read_run(folder)
    events = follow_events(folder) if args.follow else read_events(folder)
    if args.json:
        for event in events:
            console.result(machine.render_event(event))
        return 0
    console.result(render_run(summary))
    if summary.outcome == UNRECORDED:
        return 0
    teller = EventTeller()
    for event in events:
        if text := teller.tell(event):
            console.result(text)
    ended = read_run(folder)
    if text := teller.untold():
        console.result(text)
    if not teller.told_the_end and ended.outcome != RUNNING:
        console.result(
            f"The run was cut off: its process ended without a word. Its log: {folder / 'debug.log'}\n"
            f"→ Go on with: {ended.command}"
        )
    return 0
