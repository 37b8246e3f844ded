"""Check a production file or a compiled template: every finding with its place."""

from __future__ import annotations

import argparse
from pathlib import Path

from orchestrator.cli.commands import options
from orchestrator.cli.console import Console
from orchestrator.cli.views import human
from orchestrator.diagnostics import has_errors


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("file", metavar="FILE", type=Path, help="production file or compiled template")
    options.add_reading(parser)
    options.add_format(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Print the findings; 2 if any is an error."""
    loaded = options.read(args)
    failed = has_errors(loaded.diagnostics)
    if args.format != "human":
        options.show_findings(loaded.diagnostics, args, console)
        return 2 if failed else 0
    if loaded.diagnostics:
        console.result(human.render_diagnostics(loaded.diagnostics) + "\n")
    verdict = "is valid" if not failed else "is not valid"
    console.result(f"{args.file} {verdict}: {human.render_counts(loaded.diagnostics)}.")
    return 2 if failed else 0
