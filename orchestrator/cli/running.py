"""What every command that changes a deployment does alike: open it, ask, show progress, keep a record."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from orchestrator.cli.commands import options
from orchestrator.cli.console import Console
from orchestrator.cli.interrupt import interruptible
from orchestrator.cli.views.progress import ProgressLines
from orchestrator.services.deployment import OpenDeployment, open_for_working

if TYPE_CHECKING:
    from orchestrator.engine.hooks import Hook
    from orchestrator.planning.plan import Plan
    from orchestrator.topology.model import Topology


@contextmanager
def working(name: str, console: Console) -> Iterator[OpenDeployment]:
    """A deployment opened to work on: Ctrl-C stops in good order, secrets are masked, the debug log is written.

    Args:
        name: The deployment.
        console: Where output goes.

    Raises:
        LockedError: If another process, or a child that one left behind, works on it.
    """
    with interruptible(console) as cancel, open_for_working(name, console.command_line, cancel) as opened:
        console.log_to(opened.run_folder)
        options.introduce(opened, console)
        yield opened


def approve(args: argparse.Namespace, console: Console, question: str) -> bool:
    """Ask whether to go on, unless told not to; says that nothing was changed if not.

    Raises:
        UsageError: If there is nobody to ask.
    """
    if options.approve(args, console, question):
        return True
    console.progress("Nothing was changed.")
    return False


@contextmanager
def progress(console: Console, plan: Plan, topology: Topology | None) -> Iterator[Hook]:
    """Shows the changes of a plan while they are done.

    Args:
        console: Where output goes.
        plan: What is going to be done.
        topology: Groups the changes by computational layer; ``None``: they are shown as one group.

    Yields:
        The hook to hand to the service that does the plan.
    """
    del topology
    yield ProgressLines(console, sum(1 for change in plan.changes.values() if not change.is_noop))
