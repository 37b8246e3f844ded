"""Print the Ansible inventory of a deployment, for playbooks by hand; there are no secrets in it."""

from __future__ import annotations

import argparse
from pathlib import Path

from orchestrator.cli.commands import options
from orchestrator.cli.commands.cloud_options import add_clouds, check_effect
from orchestrator.cli.console import Console
from orchestrator.cli.views.inventory import render_inventory
from orchestrator.services.inventory import build_inventory


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("file", metavar="FILE|TEMPLATE", type=Path, help="production file or compiled template")
    parser.add_argument("--format", choices=("yaml", "ini", "json"), default="yaml", help="form (default: yaml)")
    parser.add_argument("--cluster", metavar="NAME", default="", help="only this cluster (default: all)")
    options.add_reading(parser)
    options.add_rehearsal(parser)
    add_clouds(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Print the inventory."""
    from orchestrator.services.deployment import open_for_reading  # noqa: PLC0415 - as in options
    from orchestrator.services.prepare import want  # noqa: PLC0415 - the same

    loaded = options.load(args, console)
    target = options.target(args, loaded)
    wanted, _ = want(target)
    check_effect(args, wanted)
    opened = open_for_reading(target.deployment)
    options.introduce(opened, console)
    records = opened.state.instances if opened.state is not None else {}
    clusters = build_inventory(wanted.instances, records, args.cluster)
    console.result(render_inventory(clusters, args.format).rstrip("\n"))
    return 0
