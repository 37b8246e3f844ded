"""Remove everything that apply created, in reverse order, then look for leftovers by tag."""

from __future__ import annotations

import argparse

from orchestrator.cli.commands import options
from orchestrator.cli.console import Console
from orchestrator.cli.running import approve, print_nothing_done, progress, working
from orchestrator.cli.views import human
from orchestrator.planning.planner import plan_destroy
from orchestrator.services.apply import open_providers
from orchestrator.services.destroy import destroy, was_destroyed
from orchestrator.state.folders import find_deployment


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    options.add_name(parser)
    options.add_approval(parser)
    parser.add_argument("--json", action="store_true", help="print the run as events, one JSON value a line")


def run(args: argparse.Namespace, console: Console) -> int:
    """Destroy."""
    if args.name and was_destroyed(args.name):
        print_nothing_done(args, console, args.name, f"{args.name} was destroyed before: nothing is left.")
        return 0
    name = find_deployment(args.name)
    show = console.progress if args.json else console.result
    with working(name, args, console) as opened:
        if opened.state is None:
            show(f"{name}: nothing is left.")
            return 0
        plan = plan_destroy(opened.state)
        show(human.render_plan(plan, None))
        if not approve(args, console, opened, "\nRemove all of this?"):
            return 1
        open_providers({record.provider for record in opened.state.instances.values()})
        total = len(plan.changes)
        with progress(args, console, opened, plan, None, f"Destroying {name}") as hook:
            destroyed = destroy(plan, opened, hook, args.parallelism)
    searched = ", ".join(destroyed.searched) or "none"
    show(
        f"\n{name}: {total} instances removed in {console.elapsed():.0f} s. "
        f"Looked for leftovers by tag (providers: {searched}): nothing is left."
    )
    return 0
