"""What every command that changes a deployment does alike: open it, ask, show progress, tell what failed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from orchestrator.cli.commands import options
from orchestrator.cli.console import Console
from orchestrator.cli.interrupt import interruptible
from orchestrator.cli.views import machine
from orchestrator.cli.views.failure import explain
from orchestrator.cli.views.progress import ProgressLines
from orchestrator.errors import ApplyFailedError, CancelledError, DeployError
from orchestrator.services.deployment import OpenDeployment, open_for_working
from orchestrator.services.run_events import events_of_no_run

if TYPE_CHECKING:
    from orchestrator.cli.views.progress_board import Board
    from orchestrator.cli.views.progress_terminal import Remaining, TerminalProgress
    from orchestrator.engine.hooks import Event, Hook
    from orchestrator.manifest.model import Manifest
    from orchestrator.planning.plan import Plan
    from orchestrator.topology.model import Topology


@contextmanager
def working(name: str, args: argparse.Namespace, console: Console) -> Iterator[OpenDeployment]:
    """A deployment opened to work on: Ctrl-C stops in good order, secrets are masked, the debug log is written.

    With ``--json`` the events of the run go to stdout, from the first to the one that tells how it ended; the command
    itself then has nothing to print there. What failed is told with the end of its log and the command to go on.

    Args:
        name: The deployment.
        args: The command's arguments; ``json`` may be among them.
        console: Where output goes.

    Raises:
        LockedError: If another process, or a child that one left behind, works on it.
    """
    with interruptible(console) as cancel, open_for_working(name, console.command_line, cancel) as opened:
        console.log_to(opened.run_folder)
        options.introduce(opened, console)
        if opened.log is not None and _wants_json(args):
            opened.log.follow(_EventPrinter(console))
        try:
            yield opened
        except (ApplyFailedError, CancelledError) as failure:
            tails = opened.log.tails if opened.log is not None else {}
            explain(failure, tails, _command_to_go_on(args, console))
            raise


def approve(args: argparse.Namespace, console: Console, opened: OpenDeployment, question: str) -> bool:
    """Ask whether to go on, unless told not to; says that nothing was changed if not.

    Raises:
        UsageError: If there is nobody to ask.
        CancelledError: If the operator pressed Ctrl-C instead of answering.
    """
    if options.approve(args, console, question, opened.cancel):
        return True
    if opened.cancel.is_set():
        raise CancelledError("Interrupted.", detail="Nothing was changed.")
    if opened.log is not None:
        opened.log.note_declined()
    console.progress("Nothing was changed.")
    return False


@contextmanager
def progress(
    args: argparse.Namespace,
    console: Console,
    opened: OpenDeployment,
    plan: Plan,
    topology: Topology | None,
    title: str,
) -> Iterator[Hook]:
    """Shows the changes of a plan while they are done: as a picture on a terminal, else as lines.

    Args:
        args: The command's arguments; ``json`` and ``parallelism`` may be among them.
        console: Where output goes.
        opened: The deployment.
        plan: What is going to be done.
        topology: Groups the changes by computational layer; ``None``: the one that was applied last does.
        title: What is going on, e.g. ``Applying demo``.

    Yields:
        The hook to hand to the service that does the plan.
    """
    total = sum(1 for change in plan.changes.values() if not change.is_noop)
    if _wants_json(args) and sys.stdout.isatty():
        yield ProgressLines(console.note, total)
    elif not console.can_draw:
        yield ProgressLines(console.progress, total)
    else:
        picture = _picture(args, console, opened, plan, topology, title)
        lines = ProgressLines(console.note, total)

        def draw(event: Event) -> None:
            lines(event)
            picture(event)

        with console.drawing(picture):
            yield draw


def show(args: argparse.Namespace, console: Console, text: str) -> None:
    """Tell a person something: on stdout, unless the events go there."""
    (console.progress if _wants_json(args) else console.result)(text)


def note_manifest(opened: OpenDeployment, manifest: Manifest) -> None:
    """Have the run's last event carry the manifest."""
    if opened.log is not None:
        opened.log.note_manifest(machine.manifest_to_json(manifest))


def note_unchanged(opened: OpenDeployment, plan: Plan) -> None:
    """Have the record say that the plan was made and asked for nothing."""
    if opened.log is not None:
        opened.log.planned(plan)


def print_nothing_done(args: argparse.Namespace, console: Console, deployment: str, told: str) -> None:
    """Tell that there was nothing to work on, so that no run was begun; with ``--json`` by the first and last event."""
    if not _wants_json(args):
        show(args, console, told)
        return
    started, finished = events_of_no_run(deployment, console.command_line)
    console.result(machine.render_event(started))
    console.result(machine.render_event(finished))


def _wants_json(args: argparse.Namespace) -> bool:
    return bool(getattr(args, "json", False))


def _picture(
    args: argparse.Namespace,
    console: Console,
    opened: OpenDeployment,
    plan: Plan,
    topology: Topology | None,
    title: str,
) -> TerminalProgress:
    import time  # noqa: PLC0415 - with what follows

    from orchestrator.cli.views.progress_board import board_of  # noqa: PLC0415 - only terminals need it
    from orchestrator.cli.views.progress_terminal import TerminalProgress  # noqa: PLC0415 - loads rich

    board = board_of(plan, topology or _stored_topology(opened), time.monotonic())
    parallelism = int(getattr(args, "parallelism", 1))
    return TerminalProgress(board, title, _estimator(opened, plan, parallelism), masked=console.masked)


def _stored_topology(opened: OpenDeployment) -> Topology | None:
    """The topology that was applied last, for its layers; ``None`` if this version does not read it any longer."""
    from orchestrator.services.manifest import parse_stored_template  # noqa: PLC0415 - only terminals need it

    try:
        return parse_stored_template(opened.state.template, opened.name) if opened.state is not None else None
    except DeployError:
        return None


def _estimator(opened: OpenDeployment, plan: Plan, parallelism: int) -> Remaining:
    from orchestrator.engine.limits import Limits  # noqa: PLC0415 - only terminals need it
    from orchestrator.executors.registry import ExecutorRegistry  # noqa: PLC0415 - the same
    from orchestrator.services.estimate import remaining_seconds  # noqa: PLC0415 - the same

    whole = opened.expected_seconds(plan)
    limits = Limits(ExecutorRegistry())

    def remaining(board: Board, now: float) -> tuple[float, bool] | None:
        unfinished = board.unfinished(plan.changes)
        elapsed = {address: board.rows[address].elapsed(now) for address in unfinished}
        return remaining_seconds(unfinished, elapsed, lambda c: whole.get(c.address), parallelism, limits.of)

    return remaining


def _command_to_go_on(args: argparse.Namespace, console: Console) -> str:
    """The command line that goes on with what is left; nothing for a saved plan, which fits no longer."""
    from orchestrator.planning.plan_file import is_saved_plan  # noqa: PLC0415 - only after a failure

    file = getattr(args, "file", None)
    return "" if file is not None and file.is_file() and is_saved_plan(file) else console.command_line


class _EventPrinter:
    """Prints events as lines of JSON; a reader that went away ends the printing, not the run."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._is_read = True

    def __call__(self, value: dict[str, Any]) -> None:
        if not self._is_read:
            return
        try:
            self._console.result(machine.render_event(value))
        except BrokenPipeError:
            self._is_read = False
            self._console.drop_stdout()
