"""Look at everything that an apply needs, before anything is changed: this computer, the machines, their network."""

from __future__ import annotations

import argparse
from pathlib import Path

from orchestrator.cli.commands import options
from orchestrator.cli.commands.cloud_options import add_clouds, check_effect
from orchestrator.cli.console import Console
from orchestrator.cli.views import doctor as views
from orchestrator.services.doctor import Conditions, examine_applied, examine_wanted
from orchestrator.services.doctor_findings import Examination
from orchestrator.state.folders import REHEARSAL_SUFFIX

_SECONDS = 60.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "file", metavar="FILE|NAME", type=Path, help="production file or template to be applied, or a deployment's name"
    )
    options.add_reading(parser)
    options.add_rehearsal(parser)
    add_clouds(parser)
    parser.add_argument(
        "--timeout", metavar="S", type=_seconds, default=_SECONDS, help="seconds for all machines (default 60)"
    )
    parser.add_argument(
        "--known-hosts",
        metavar="FILE",
        type=Path,
        help="trust the host keys in this known_hosts file only, and none at the first contact",
    )
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(args: argparse.Namespace, console: Console) -> int:
    """Print what was found; 1 if anything would stop an apply."""
    found = _examination(args, console)
    console.result(views.render_json(found) if args.json else views.render(found, console))
    return 0 if found.is_fit else 1


def _examination(args: argparse.Namespace, console: Console) -> Examination:
    how = Conditions(args.timeout, args.known_hosts, console.progress)
    if not args.file.exists() and "/" not in str(args.file) and args.file.suffix not in {".yaml", ".yml", ".json"}:
        options.check_unused(
            args,
            "A deployment is looked at as it was applied.",
            f"{args.file} names a deployment, and its machines are those that are there",
            "Leave it out, or name the production file instead of the deployment to see what an apply would need.",
        )
        opened = options.open_named(str(args.file), console)
        return examine_applied(opened, str(args.file).endswith(REHEARSAL_SUFFIX), how)
    from orchestrator.services.deployment import OpenDeployment, open_for_reading  # noqa: PLC0415 - as in options
    from orchestrator.services.prepare import want  # noqa: PLC0415 - the same

    loaded = options.load(args, console)
    target = options.target(args, loaded)
    wanted, _ = want(target)
    check_effect(args, wanted)

    def open_deployment() -> OpenDeployment:
        opened = open_for_reading(target.deployment)
        options.introduce(opened, console)
        return opened

    return examine_wanted(target.deployment, wanted, args.rehearse, open_deployment, how)


def _seconds(text: str) -> float:
    number = float(text)
    if not 1 <= number <= 3600:
        raise argparse.ArgumentTypeError("must be from 1 to 3600")
    return number
