"""Arguments that several commands share, and what they mean."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from orchestrator.cli.commands.cloud_options import (
    CLOUD_OPTIONS,
    VIRTUAL_MACHINE,
    given_for_clouds,
    understood,
    words_of,
)
from orchestrator.cli.console import Console
from orchestrator.cli.views import human
from orchestrator.diagnostics import Diagnostic, as_errors, has_errors, in_order
from orchestrator.errors import DeployError, InvalidInputError, UsageError
from orchestrator.production.layout import ReadOptions
from orchestrator.services.load import LoadedTopology, load_topology

if TYPE_CHECKING:
    from orchestrator.services.deployment import OpenDeployment
    from orchestrator.services.prepare import Target


def add_name(parser: argparse.ArgumentParser) -> None:
    """NAME, which defaults to the only deployment there is."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="deployment (default: the only one there is)")


def add_rehearsal(parser: argparse.ArgumentParser) -> None:
    """How the deployment runs: for real or on throw-away local machines."""
    group = parser.add_argument_group("rehearsal")
    group.add_argument("--rehearse", action="store_true", help="apply to throw-away machines on this computer")
    group.add_argument(
        "--k3s", choices=("standin", "real"), help="K3s of a rehearsal: a stand-in (default) or the real one"
    )
    group.add_argument("--k3s-binary", metavar="FILE", type=Path, help="a K3s binary to install, not fetched")


def add_approval(parser: argparse.ArgumentParser) -> None:
    """Whether to ask first."""
    parser.add_argument("--auto-approve", action="store_true", help="do not ask (needed without a terminal)")
    parser.add_argument(
        "--parallelism", metavar="N", type=_positive, default=32, help="changes at the same time at most (default 32)"
    )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


_COMPANION_OPTIONS = {
    "dag": ("--dag", "application_dag.yaml"),
    "partitions": ("--partitions", "component_partitions.yaml"),
    "physical_nodes": ("--physical-nodes", "physical_nodes.yaml"),
    "inventory": ("--inventory", "Ansible inventory of physical machines"),
    "multi_cluster_qos": ("--multi-cluster-qos", "multi_cluster_qos_constraints.yaml"),
    "annotations": ("--annotations", "annotations.yaml"),
    "alternatives": ("--alternatives", "alternative_workflows.yaml"),
    "containers": ("--containers", "containers.yaml"),
    "candidate_resources": ("--candidate-resources", "candidate_resources.yaml"),
    "candidate_deployments": ("--candidate-deployments", "candidate_deployments.yaml"),
    "accounts": ("--auth", "im/auth.dat"),
}
"""Key in ``production.layout.COMPANIONS`` to the option that gives the file, and what it is called in the layout."""


def add_reading(parser: argparse.ArgumentParser) -> None:
    """How the input is found and read."""
    group = parser.add_argument_group("input files (found from FILE's own place unless given)")
    group.add_argument("--strict", action="store_true", help="warnings count as errors")
    group.add_argument("--alternative", metavar="NAME", default="", help="alternative workflow (default: the best one)")
    group.add_argument("--application", metavar="DIR", type=Path, help="the application's folder")
    group.add_argument("--qos", metavar="FILE", type=Path, action="append", default=[], help="qos_constraints*.yaml")
    for key, (option, name) in _COMPANION_OPTIONS.items():
        group.add_argument(option, metavar="FILE", type=Path, dest=f"file_{key}", help=name)


def add_format(parser: argparse.ArgumentParser) -> None:
    """How findings are written."""
    parser.add_argument(
        "--format",
        choices=("human", "json", "github", "gitlab"),
        default="human",
        help="findings for a person (default), as JSON, as GitHub workflow commands, as a GitLab Code Quality report",
    )
    parser.add_argument("--json", action="store_const", const="json", dest="format", help="the same as --format json")


def show_findings(found: Sequence[Diagnostic], args: argparse.Namespace, console: Console) -> None:
    """Print findings in the form for a program that the arguments ask for."""
    from orchestrator.cli.views import annotations, machine  # noqa: PLC0415 - people do not need them

    if args.format == "github":
        console.result(annotations.render_github(found))
    elif args.format == "gitlab":
        console.result(annotations.render_gitlab(found))
    else:
        console.result(machine.render_diagnostics(found))


def read(args: argparse.Namespace) -> LoadedTopology:
    """Load the production file or template that the arguments name, with what they say about reading.

    Raises:
        UsageError: If a file that is given is not there.
    """
    files = {key: path for key in _COMPANION_OPTIONS if (path := getattr(args, f"file_{key}")) is not None}
    given = [(_COMPANION_OPTIONS[key][0], path) for key, path in files.items()] + [("--qos", p) for p in args.qos]
    missing = [f"{option} names {path}, which is no file" for option, path in given if not path.is_file()]
    if args.application is not None and not args.application.is_dir():
        missing.append(f"--application names {args.application}, which is no folder")
    if missing:
        raise UsageError(
            "An input file is not there.",
            detail="; ".join(missing) + ".",
            resolution="Correct the path, or leave the option out to have the file looked for.",
        )
    loaded = load_topology(args.file, ReadOptions(args.application, files, tuple(args.qos), args.alternative))
    found = in_order(loaded.diagnostics)
    return replace(loaded, diagnostics=as_errors(found) if args.strict else found)


def load(args: argparse.Namespace, console: Console) -> LoadedTopology:
    """Load a production file or template; shows warnings and notes, raises on errors."""
    loaded = read(args)
    if has_errors(loaded.diagnostics):
        raise InvalidInputError(loaded.diagnostics)
    if loaded.diagnostics:
        console.progress(human.render_diagnostics(loaded.diagnostics))
    return loaded


def check_unused(args: argparse.Namespace, summary: str, because: str, resolution: str) -> None:
    """Refuse options about what is wanted where something else has said that already.

    Args:
        args: The arguments.
        summary: What is wrong.
        because: Why; the beginning of a sentence.
        resolution: What to do.

    Raises:
        UsageError: If there are any.
    """
    names = ("strict", "alternative", "application", "qos", "rehearse", "k3s", "k3s_binary")
    given = words_of(name for name in names if getattr(args, name, None))
    files = (option for key, (option, _) in _COMPANION_OPTIONS.items() if getattr(args, f"file_{key}", None))
    options = ", ".join(filter(None, (given, *files, words_of(given_for_clouds(args)))))
    if options:
        raise UsageError(summary, detail=f"{because}, so that nothing is done with {options}.", resolution=resolution)


def target(args: argparse.Namespace, loaded: LoadedTopology) -> Target:
    """The topology under the profile that the options ask for.

    Raises:
        UsageError: If options of a rehearsal are given without one, one of clouds makes no sense, or the K3s binary is
            not there.
    """
    from orchestrator.services.prepare import Target  # noqa: PLC0415 - a third of the start, unused by most commands

    if args.k3s and not args.rehearse:
        raise UsageError(
            "This option needs --rehearse.",
            detail="--k3s chooses what takes K3s's place in a rehearsal; outside of one it is always the real one.",
            resolution="Add --rehearse, or leave it out.",
        )
    if args.k3s == "standin" and args.k3s_binary:
        raise UsageError("--k3s standin and --k3s-binary exclude each other.", resolution="Give one of them.")
    clouds = given_for_clouds(args)
    if args.rehearse and clouds:
        raise UsageError(
            "This option is not for a rehearsal.",
            detail=f"A rehearsal orders nothing from a cloud, so that nothing is done with {words_of(clouds)}.",
            resolution="Leave it out, or leave --rehearse out.",
        )
    _check_provider(clouds.get("provider", ""), loaded)
    clouds = understood(clouds)
    binary = {"k3s_binary": _binary(args.k3s_binary)} if args.k3s_binary else {}
    if not args.rehearse:
        production = Target(loaded, "production", {**binary, **clouds})
        return replace(production, options={**_remembered(production), **production.options})
    return Target(loaded, "local", {"k3s": args.k3s or ("real" if args.k3s_binary else "standin"), **binary})


def _check_provider(text: str, loaded: LoadedTopology) -> None:
    """See that each entry names machines that there are, and a cloud that may make them."""
    if text:
        from orchestrator.planning.chosen_providers import check_choices  # noqa: PLC0415 - as in target
        from orchestrator.planning.profile import load_profile  # noqa: PLC0415 - the same
        from orchestrator.topology.types import shipped_types  # noqa: PLC0415 - the same

        check_choices(text, loaded.topology, shipped_types(), load_profile("production").image_schemes)


def _remembered(target: Target) -> dict[str, str]:
    """What was said of the machines of clouds when the deployment was last applied; nothing if it has none."""
    if not any(node.type == VIRTUAL_MACHINE for node in target.loaded.topology.nodes.values()):
        return {}
    from orchestrator.services.deployment import open_for_reading  # noqa: PLC0415 - the same

    try:
        state = open_for_reading(target.deployment).state
    except DeployError:
        return {}  # whoever opens it to work on it says why
    applied = state.profile_options if state is not None and state.profile == target.profile else {}
    return {name: applied[name] for name in CLOUD_OPTIONS if name in applied}


def _binary(path: Path) -> str:
    if not path.is_file():
        raise UsageError(
            "The K3s binary is not there.",
            detail=f"--k3s-binary names {path}, which is no file.",
            resolution="Give the path of a K3s release binary for the architecture of the machines.",
        )
    return str(path.resolve())


def approve(args: argparse.Namespace, console: Console, question: str, cancel: Event | None = None) -> bool:
    """Ask a person, unless told not to; ``cancel`` being set meanwhile is a no.

    Raises:
        UsageError: If there is nobody to ask.
    """
    if args.auto_approve:
        return True
    if not console.is_terminal:
        raise UsageError(
            "Nobody is there to approve.",
            detail="Standard input or error is no terminal, so the question whether to go on cannot be asked.",
            resolution="Look at what would be done, then run this again with --auto-approve.",
        )
    return console.ask(question, cancel)


def open_named(name: str | None, console: Console) -> OpenDeployment:
    """The deployment that is meant, to look at; from here on its secrets are masked in everything that goes out."""
    from orchestrator.services.deployment import open_for_reading  # noqa: PLC0415 - the same
    from orchestrator.state.folders import find_deployment  # noqa: PLC0415 - the same

    opened = open_for_reading(find_deployment(name))
    introduce(opened, console)
    return opened


def introduce(opened: OpenDeployment, console: Console) -> None:
    """Let the console know whose secrets to mask, and tell what was mended while the state was read."""
    console.mask_with(opened.secrets.values)
    console.warn((*opened.warnings, *opened.session.warnings))
