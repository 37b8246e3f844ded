"""Go back to what was applied completely before: show the plan, ask, apply it like any other."""

from __future__ import annotations

import argparse
from functools import partial

from orchestrator.cli.commands import options
from orchestrator.cli.commands.apply import show_and_apply
from orchestrator.cli.console import Console
from orchestrator.cli.running import show, working
from orchestrator.cli.views import machine, recovery
from orchestrator.errors import UsageError
from orchestrator.services.apply import open_providers
from orchestrator.services.rollback import choose_version, finish_rollback, prepare_rollback, restore_names
from orchestrator.state.folders import find_deployment


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    options.add_name(parser)
    parser.add_argument(
        "--to", metavar="N", type=int, help="number of the version (default: the last good one before the present)"
    )
    parser.add_argument("--list", action="store_true", help="show the versions that are kept, and change nothing")
    options.add_approval(parser)
    parser.add_argument(
        "--json", action="store_true", help="print the run as events, one JSON value a line; with --list the versions"
    )


def run(args: argparse.Namespace, console: Console) -> int:
    """Roll back."""
    if args.list:
        return _list(args, console)
    name = find_deployment(args.name)
    with working(name, args, console) as opened:
        if opened.state is None:
            raise UsageError("There is nothing to roll back.", detail=f"{name} has not been applied.")
        version = choose_version(opened.state, args.to)
        open_providers({record.provider for record in opened.state.instances.values()})
        rollback = prepare_rollback(opened, version)
        show(args, console, recovery.render_rollback(rollback))
        topology, names = rollback.target.loaded.topology, partial(restore_names, rollback.images)
        code = show_and_apply(args, console, opened, rollback.saved, topology, names)
        if code == 0:
            console.warn(finish_rollback(opened, rollback))
    return code


def _list(args: argparse.Namespace, console: Console) -> int:
    opened = options.open_named(args.name, console)
    if opened.state is None:
        raise UsageError("There is nothing to roll back.", detail=f"{opened.name} has not been applied.")
    render = machine.render_versions if args.json else recovery.render_versions
    console.result(render(opened.state))
    return 0
