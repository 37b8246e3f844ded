"""The arguments by which plan and apply are narrowed down."""

from __future__ import annotations

import argparse
from pathlib import Path

from orchestrator.errors import UsageError
from orchestrator.planning.plan import Plan
from orchestrator.planning.planner import Wanted
from orchestrator.services.deployment import OpenDeployment
from orchestrator.services.prepare import Target, prepare, prepare_refresh


def add_selection(parser: argparse.ArgumentParser) -> None:
    """What to change: everything, unless told otherwise."""
    group = parser.add_argument_group(
        "selection", "NAME is an address (service-a, edge[0]), a node template or a component; may be repeated"
    )
    group.add_argument(
        "--target", metavar="NAME", action="append", default=[], help="only this, with what must come before it"
    )
    group.add_argument(
        "--replace", metavar="NAME", action="append", default=[], help="make this anew although nothing asks for it"
    )
    group.add_argument(
        "--refresh-only", action="store_true", help="only take over into the state what is found; change nothing else"
    )


def check_selection(args: argparse.Namespace, saved_plan: Path | None = None) -> None:
    """Refuse arguments that exclude each other.

    Args:
        args: The arguments.
        saved_plan: The plan that is to be applied, if it is a saved one.

    Raises:
        UsageError: If they do.
    """
    if saved_plan is not None and (args.target or args.replace or args.refresh_only):
        raise UsageError(
            "A saved plan is applied as it is.",
            detail=f"{saved_plan} is a saved plan: what is to be done was chosen when it was made.",
            resolution="Leave out --target, --replace and --refresh-only, or plan again with `deploy plan --out`.",
        )
    if args.refresh_only and (args.target or args.replace):
        raise UsageError(
            "--refresh-only excludes --target and --replace.",
            detail="It takes over what is found of everything, and changes nothing else.",
            resolution="Leave one of them out.",
        )


def plan_chosen(args: argparse.Namespace, target: Target, opened: OpenDeployment, wanted: Wanted) -> Plan:
    """The plan that the arguments ask for."""
    if args.refresh_only:
        return prepare_refresh(target, opened, wanted)
    return prepare(target, opened, wanted, args.replace, args.target)
