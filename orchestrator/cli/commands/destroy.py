"""Remove everything that apply created, in reverse order, then look for leftovers by tag."""

from __future__ import annotations

import argparse

from orchestrator.cli.commands import options
from orchestrator.cli.console import Console
from orchestrator.cli.interrupt import interruptible
from orchestrator.cli.views import human
from orchestrator.cli.views.progress import ProgressLines
from orchestrator.planning.planner import plan_destroy
from orchestrator.services.apply import open_providers
from orchestrator.services.deployment import open_for_working
from orchestrator.services.destroy import destroy, was_destroyed
from orchestrator.state.folders import find_deployment


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    options.add_name(parser)
    options.add_approval(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Destroy."""
    if args.name and was_destroyed(args.name):
        console.result(f"{args.name} was destroyed before: nothing is left.")
        return 0
    name = find_deployment(args.name)
    with interruptible(console) as cancel, open_for_working(name, console.command_line, cancel) as opened:
        if opened.state is None:
            console.result(f"{name}: nothing is left.")
            return 0
        console.log_to(opened.run_folder)
        options.introduce(opened, console)
        plan = plan_destroy(opened.state)
        console.result(human.render_plan(plan, None))
        if not options.approve(args, console, "\nRemove all of this?"):
            console.progress("Nothing was changed.")
            return 1
        open_providers({record.provider for record in opened.state.instances.values()})
        total = len(plan.changes)
        destroyed = destroy(plan, opened, ProgressLines(console, total), args.parallelism)
    searched = ", ".join(destroyed.searched) or "none"
    console.result(
        f"\n{name}: {total} instances removed in {console.elapsed():.0f} s. "
        f"Looked for leftovers by tag (providers: {searched}): nothing is left."
    )
    return 0
