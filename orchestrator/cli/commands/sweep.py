"""List what is tagged as ours at clouds and no state here knows; remove it when told to."""

from __future__ import annotations

import argparse

from orchestrator.cli.commands import options
from orchestrator.cli.console import Console
from orchestrator.cli.views import sweep as views
from orchestrator.errors import UsageError
from orchestrator.services.sweep import Left, find_unknown, remove_unknown


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--provider",
        metavar="CLOUD/PLACE",
        action="append",
        default=[],
        help="where to look, e.g. aws/eu-central-1; several with commas (default: all that the states here name)",
    )
    parser.add_argument("--remove", action="store_true", help="remove what is found, after asking")
    parser.add_argument("--auto-approve", action="store_true", help="do not ask (needed without a terminal)")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(args: argparse.Namespace, console: Console) -> int:
    """Sweep; 1 if something could not be asked or is left."""
    if args.auto_approve and not args.remove:
        raise UsageError(
            "--auto-approve needs --remove.",
            detail="Without --remove things are only listed, and nothing is asked.",
            resolution="Add --remove, or leave --auto-approve out.",
        )
    asked = [name.strip() for text in args.provider for name in text.split(",") if name.strip()]
    found = find_unknown(tuple(dict.fromkeys(asked)))
    left: tuple[Left, ...] | None = None
    if not args.json:
        console.result(views.render(found))
    elif found.groups and args.remove:
        console.progress(views.render(found))
    if args.remove and found.groups:
        if not options.approve(args, console, "\nRemove all of this? Whoever keeps a state elsewhere still needs it."):
            console.progress("Nothing was changed.")
            return 1
        left = remove_unknown(found)
        if not args.json:
            console.result(views.render_left(found, left))
    if args.json:
        console.result(views.render_json(found, left))
    return 1 if left or found.failed else 0
