"""Show what apply would change, and why. Changes nothing and starts nothing."""

from __future__ import annotations

import argparse
from pathlib import Path

from orchestrator.cli.commands import options
from orchestrator.cli.commands.cloud_options import add_clouds, check_effect
from orchestrator.cli.commands.selection import add_selection, check_selection, plan_chosen
from orchestrator.cli.console import Console
from orchestrator.cli.views import human, machine
from orchestrator.cli.views.cost import change_of, cost_to_json, render_cost
from orchestrator.diagnostics import has_errors
from orchestrator.planning.plan_file import SavedPlan, render_saved_plan
from orchestrator.services.deployment import open_for_reading
from orchestrator.services.preflight import check_plan
from orchestrator.services.preflight_clouds import check_clouds
from orchestrator.services.prepare import want
from orchestrator.state.durable_file import replace_file
from orchestrator.topology.cost import cost_of
from orchestrator.topology.types import shipped_types


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("file", metavar="FILE|TEMPLATE", type=Path, help="production file or compiled template")
    options.add_reading(parser)
    options.add_rehearsal(parser)
    add_clouds(parser)
    add_selection(parser)
    parser.add_argument("--out", metavar="PLAN", type=Path, help="save the plan for `deploy apply PLAN`")
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")
    parser.add_argument("--detailed-exitcode", action="store_true", help="exit 3 if there are changes")


def run(args: argparse.Namespace, console: Console) -> int:
    """Print the plan."""
    check_selection(args)
    loaded = options.load(args, console)
    target = options.target(args, loaded)
    wanted, findings = want(target)
    check_effect(args, wanted)
    opened = open_for_reading(target.deployment)
    options.introduce(opened, console)
    plan = plan_chosen(args, target, opened, wanted)
    if args.out:
        saved = SavedPlan(plan, loaded.template_text, target.options, str(loaded.application_root))
        replace_file(args.out, render_saved_plan(saved).encode())
    price = cost_of(loaded.topology, shipped_types())
    change = change_of(plan, price, shipped_types())
    if not args.json:
        console.result(human.render_plan(plan, loaded.topology))
        console.result("\n" + render_cost(price, change))
        console.result("\n" + human.render_substitutions(plan.substitutions))
    obstacles = (*findings, *check_plan(plan, opened.secrets), *check_clouds(plan))  # what clouds say takes its time
    if args.json:
        console.result(machine.render_plan(plan, cost_to_json(price, change), obstacles))
    if obstacles:
        console.progress("\n" + human.render_diagnostics(obstacles))
    if has_errors(obstacles):
        console.progress("\nAn apply would be refused: see the errors above.")
    return 3 if args.detailed_exitcode and not plan.is_empty else 0
