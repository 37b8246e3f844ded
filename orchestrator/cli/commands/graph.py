"""Draw the topology as a picture that a person can read."""

from __future__ import annotations

import argparse
from pathlib import Path

from orchestrator.cli.commands import options
from orchestrator.cli.console import Console
from orchestrator.services.graph import render_graph


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("file", metavar="FILE", type=Path, help="production file or compiled template")
    options.add_reading(parser)
    parser.add_argument("--format", choices=("dot", "mermaid", "svg"), default="dot", help="default: dot")


def run(args: argparse.Namespace, console: Console) -> int:
    """Print it."""
    console.result(render_graph(options.load(args, console).topology, args.format))
    return 0
