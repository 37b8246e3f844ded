"""Print the endpoints manifest: clusters, components, where they listen. Holds no secret value."""

from __future__ import annotations

import argparse

from orchestrator.cli.commands import options
from orchestrator.cli.console import Console
from orchestrator.manifest.render import FORMATS, render_manifest
from orchestrator.services.manifest import read_manifest


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    options.add_name(parser)
    parser.add_argument("--format", choices=FORMATS, default="yaml", help="default: yaml")


def run(args: argparse.Namespace, console: Console) -> int:
    """Print it."""
    manifest = read_manifest(options.open_named(args.name, console))
    console.result(render_manifest(manifest, args.format))
    return 0
