"""Make it so: show the plan, ask, apply it in parallel, end with the endpoints."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from orchestrator.cli.commands import options
from orchestrator.cli.commands.cloud_options import add_clouds, check_effect
from orchestrator.cli.commands.selection import add_selection, check_selection, plan_chosen
from orchestrator.cli.console import Console
from orchestrator.cli.running import approve, note_manifest, note_unchanged, progress, show, working
from orchestrator.cli.views import human
from orchestrator.diagnostics import has_errors
from orchestrator.errors import InvalidInputError
from orchestrator.manifest.build import build_manifest
from orchestrator.planning.plan_file import SavedPlan, check_not_stale, is_saved_plan, load_saved_plan
from orchestrator.services.apply import apply_saved, note_complete, open_providers
from orchestrator.services.deployment import OpenDeployment
from orchestrator.services.manifest import parse_stored_template
from orchestrator.services.preflight import check_plan
from orchestrator.services.preflight_clouds import check_clouds
from orchestrator.services.prepare import want
from orchestrator.topology.model import Topology


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("file", metavar="FILE|TEMPLATE|PLAN", type=Path, help="what to apply")
    options.add_reading(parser)
    options.add_rehearsal(parser)
    add_clouds(parser)
    options.add_approval(parser)
    add_selection(parser)
    parser.add_argument("--json", action="store_true", help="print the run as events, one JSON value a line")


def run(args: argparse.Namespace, console: Console) -> int:
    """Apply."""
    is_saved = args.file.is_file() and is_saved_plan(args.file)
    check_selection(args, args.file if is_saved else None)
    if is_saved:
        options.check_unused(
            args,
            "A saved plan is applied as it is.",
            f"{args.file} is a saved plan, which keeps what it was made with",
            "Leave it out, or plan again with it: `deploy plan FILE --out PLAN`.",
        )
        saved = load_saved_plan(args.file)
        topology = parse_stored_template(saved.template, str(args.file))
        with working(saved.plan.deployment, args, console) as opened:
            check_not_stale(saved.plan, opened.state)  # before anything is shown; one without changes may be stale too
            return show_and_apply(args, console, opened, saved, topology)
    loaded = options.load(args, console)
    target = options.target(args, loaded)
    wanted, findings = want(target)
    check_effect(args, wanted)
    if findings:
        console.progress(human.render_diagnostics(findings))
    with working(target.deployment, args, console) as opened:
        if opened.state is not None:
            open_providers({record.provider for record in opened.state.instances.values()})
        plan = plan_chosen(args, target, opened, wanted)
        saved = SavedPlan(plan, loaded.template_text, target.options, str(loaded.application_root))
        return show_and_apply(args, console, opened, saved, loaded.topology)


def show_and_apply(
    args: argparse.Namespace,
    console: Console,
    opened: OpenDeployment,
    saved: SavedPlan,
    topology: Topology,
    before: Callable[[], None] = lambda: None,
) -> int:
    """Show the plan, ask, and do it; the exit code. ``before`` is called once the plan is approved.

    Raises:
        InvalidInputError: If something that the plan needs is not there.
        ApplyFailedError: If changes failed, or something has to do without what could not be reached.
    """
    plan = saved.plan
    show(args, console, human.render_plan(plan, topology))
    obstacles = (*check_plan(plan, opened.secrets), *check_clouds(plan))
    if has_errors(obstacles):
        raise InvalidInputError(obstacles)
    if obstacles:
        console.progress("\n" + human.render_diagnostics(obstacles))
    if plan.is_empty and opened.state is not None:
        manifest = build_manifest(opened.state, plan.substitutions, opened.folder)
        note_unchanged(opened, plan)
        note_complete(saved, opened)
        note_manifest(opened, manifest)
        if not args.json:
            console.result("\n" + human.render_endpoints(manifest))
        return 0
    show(args, console, "\n" + human.render_substitutions(plan.substitutions))
    if not approve(args, console, opened, "\nApply this plan?"):
        return 1
    before()
    total = sum(1 for change in plan.changes.values() if not change.is_noop)
    with progress(args, console, opened, plan, topology, f"Applying {opened.name}") as hook:
        applied = apply_saved(saved, opened, hook, args.parallelism)
    if applied.outcome.failed and not applied.manifest.clusters and applied.failure is not None:
        raise applied.failure  # nothing is there that anybody could use
    note_manifest(opened, applied.manifest)
    if not args.json:
        done = f"{total}" if not applied.outcome.failed else f"{len(applied.outcome.done)} of {total}"
        console.result(
            f"\nApplied {done} changes in {console.elapsed():.0f} s.\n\n{human.render_endpoints(applied.manifest)}"
        )
        console.result("\n" + human.render_substitutions(plan.substitutions))
    if applied.failure is not None:
        raise applied.failure
    return 0
