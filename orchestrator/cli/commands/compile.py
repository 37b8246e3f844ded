"""Compile a production file to a TOSCA 1.3 service template, with its types and the components' sources beside it."""

from __future__ import annotations

import argparse
from pathlib import Path

from orchestrator.cli.commands import options
from orchestrator.cli.console import Console
from orchestrator.cli.views.cost import render_cost
from orchestrator.services.compile import write_compiled
from orchestrator.topology.cost import cost_of
from orchestrator.topology.types import shipped_types


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("file", metavar="FILE", type=Path, help="production file")
    parser.add_argument("-o", "--output", metavar="DIR", type=Path, required=True, help="folder to write to")


def run(args: argparse.Namespace, console: Console) -> int:
    """Write the folder and name the files."""
    loaded = options.load(args.file, console)
    for path in write_compiled(loaded, args.output):
        console.result(str(path))
    console.progress("\n" + render_cost(cost_of(loaded.topology, shipped_types())))
    return 0
