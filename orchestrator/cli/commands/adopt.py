"""Take over a machine of a cloud that was made by hand: tag it, let the deployment's key in, record it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from orchestrator.cli.commands import options
from orchestrator.cli.commands.cloud_options import add_clouds, check_effect, given_for_clouds, words_of
from orchestrator.cli.console import Console
from orchestrator.cli.running import working
from orchestrator.errors import UsageError
from orchestrator.services.adopt import Owner, adopt_machine, target_of_state
from orchestrator.services.deployment import open_for_reading
from orchestrator.services.prepare import Target, want
from orchestrator.state.folders import find_deployment

FORMAT_VERSION = 1
"""Version of the JSON form; see ``docs/json-output.md``."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("file", metavar="NAME|FILE", type=Path, help="deployment, or production file of a new one")
    parser.add_argument("address", metavar="ADDRESS", help="which of its machines it is to be, e.g. cloud[0]")
    parser.add_argument("id", metavar="ID", help="the cloud's identifier of the machine")
    parser.add_argument("--user", metavar="NAME", default="", help="who logs in there now (default: deploy)")
    parser.add_argument("--key", metavar="FILE", type=Path, help="the key that it takes now (default: yours)")
    parser.add_argument(
        "--host-key", metavar="KEY", default="", help="its host key or fingerprint (default: what it shows)"
    )
    options.add_reading(parser)
    add_clouds(parser)
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(args: argparse.Namespace, console: Console) -> int:
    """Import."""
    if args.key is not None and not args.key.is_file():
        raise UsageError("The key is not there.", detail=f"--key names {args.key}, which is no file.")
    args.rehearse, args.k3s, args.k3s_binary = False, None, None
    target = _target(args, console)
    wanted, _ = want(target)
    check_effect(args, wanted)
    owner = Owner(args.user, args.key, args.host_key)
    is_json, args.json = args.json, False  # this is no run of a plan: no events, but one value at the end
    with working(target.deployment, args, console) as opened:
        record = adopt_machine(opened, wanted, target, args.address, args.id, owner, console.progress)
    told = {name: record.attributes.get(name) for name in ("machine_id", "host", "port", "user", "host_key")}
    if is_json:
        content = {"address": record.address, "provider": record.provider, "generation": record.generation, **told}
        console.result(
            json.dumps({"format_version": FORMAT_VERSION, "deployment": target.deployment, **content}, indent=2)
        )
    else:
        console.result(
            f"{record.address} of {target.deployment} is {args.id} at {record.provider} ({told['host']}) now."
        )
    return 0


def _target(args: argparse.Namespace, console: Console) -> Target:
    if args.file.exists() or "/" in str(args.file) or args.file.suffix in {".yaml", ".yml"}:
        target = options.target(args, options.load(args, console))
        _check_agrees(args, target)
        return target
    options.check_unused(
        args,
        "A deployment is taken as it was applied.",
        f"{args.file} names a deployment, and its machines are as its last apply says",
        "Leave it out. To change what holds for the machines, give it to `deploy apply` afterwards.",
    )
    state = open_for_reading(find_deployment(str(args.file))).state
    if state is None or not state.template:
        raise UsageError(
            "Nothing says what the machine is for.",
            detail=f"{args.file} has not been applied.",
            resolution="Name the production file instead of the deployment.",
        )
    return target_of_state(state)


def _check_agrees(args: argparse.Namespace, target: Target) -> None:
    """See that the options are those of the last apply, if there was one: an import records none."""
    state = open_for_reading(target.deployment).state
    if state is None:
        return
    given = given_for_clouds(args)
    other = [name for name in given if target.options.get(name, "") != state.profile_options.get(name, "")]
    if other:
        raise UsageError(
            "An import changes nothing else.",
            detail=f"{target.deployment} was applied or imported into with another {words_of(other)}, which would be "
            "wanted again by the next plan.",
            resolution="Leave it out here, and give it to `deploy apply` afterwards.",
        )
