"""Remove everything that apply created, in reverse order, then look for leftovers by tag."""

from __future__ import annotations

import argparse

from orchestrator.cli.commands import options
from orchestrator.cli.console import Console
from orchestrator.cli.running import approve, print_nothing_done, progress, show, working
from orchestrator.cli.views import human
from orchestrator.errors import UsageError
from orchestrator.planning.planner import plan_destroy
from orchestrator.services.apply import open_providers
from orchestrator.services.deployment import OpenDeployment
from orchestrator.services.destroy import destroy, was_destroyed
from orchestrator.services.force_destroy import (
    RemainsError,
    destroy_by_force,
    make_readable,
    plan_by_force,
    put_aside,
)
from orchestrator.state.folders import find_deployment, list_deployments


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    options.add_name(parser)
    options.add_approval(parser)
    parser.add_argument(
        "--force", action="store_true", help="remove all that can be removed, whatever fails, and list what is left"
    )
    parser.add_argument(
        "--forget", action="store_true", help="with --force: drop the state even if something could not be removed"
    )
    parser.add_argument("--json", action="store_true", help="print the run as events, one JSON value a line")


def run(args: argparse.Namespace, console: Console) -> int:
    """Destroy."""
    if args.forget and not args.force:
        raise UsageError(
            "--forget needs --force.",
            detail="Only a forced destroy leaves anything behind that could be forgotten.",
            resolution="Add --force, or leave --forget out.",
        )
    if args.force:
        _make_readable(args, console)
    if args.name and was_destroyed(args.name):
        print_nothing_done(args, console, args.name, f"{args.name} was destroyed before: nothing is left.")
        return 0
    name = find_deployment(args.name)
    with working(name, args, console) as opened:
        if opened.state is None:
            show(args, console, f"{name}: nothing is left.")
            return 0
        return _destroy(args, console, opened)


def _destroy(args: argparse.Namespace, console: Console, opened: OpenDeployment) -> int:
    state = opened.session.state
    plan = plan_by_force(state) if args.force else plan_destroy(state)
    show(args, console, human.render_plan(plan, None))
    if not approve(args, console, opened, "\nRemove all of this?"):
        return 1
    total = len(plan.changes)
    title = f"Destroying {opened.name}"
    if args.force:
        with progress(args, console, opened, plan, None, title) as hook:
            forced = destroy_by_force(opened, hook, args.parallelism, forget=args.forget)
        if forced.left:
            raise RemainsError(forced.left, forgotten=forced.forgotten, removed=forced.removed)
        total, asked = forced.removed, forced.searched
    else:
        open_providers({record.provider for record in state.instances.values()})
        with progress(args, console, opened, plan, None, title) as hook:
            asked = destroy(plan, opened, hook, args.parallelism).searched
    show(
        args,
        console,
        f"\n{opened.name}: {total} instance{'s' if total != 1 else ''} removed in {console.elapsed():.0f} s. "
        f"Looked for leftovers by tag (providers: {', '.join(asked) or 'none'}): nothing is left.",
    )
    return 0


def _make_readable(args: argparse.Namespace, console: Console) -> None:
    """Let a damaged state stand in nobody's way.

    Raises:
        RemainsError: If not even its lineage can be read, so that nothing can be removed for certain.
    """
    name = args.name or find_deployment(None)
    rescue = make_readable(name, console.command_line) if name in list_deployments() else None
    if rescue is None:
        return
    console.warn([rescue.told])
    if not rescue.is_readable:
        if args.forget:
            console.warn([f"The damaged files are kept in {put_aside(name, console.command_line)}."])
        if rescue.found or not args.forget:
            raise RemainsError(rescue.found, forgotten=args.forget, removed=0)
