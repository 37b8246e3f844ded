"""Compile a production file to a TOSCA 1.3 service template, or export it for the Infrastructure Manager or OSCAR."""

from __future__ import annotations

import argparse
from pathlib import Path

from orchestrator.cli.commands import options
from orchestrator.cli.console import Console
from orchestrator.cli.views import human
from orchestrator.cli.views.cost import render_cost
from orchestrator.diagnostics import Diagnostic, has_errors
from orchestrator.errors import InvalidInputError, UsageError
from orchestrator.production.dialects.settings import DIALECTS, DOMAIN, TYPES_URL, ExportSettings
from orchestrator.services.compile import write_compiled
from orchestrator.services.load import LoadedTopology
from orchestrator.topology.cost import cost_of
from orchestrator.topology.types import shipped_types


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("file", metavar="FILE", type=Path, help="production file")
    options.add_reading(parser)
    options.add_format(parser)
    parser.add_argument("-o", "--output", metavar="DIR", type=Path, required=True, help="folder to write to")
    parser.add_argument(
        "--dialect",
        choices=("tosca", *DIALECTS),
        default="tosca",
        help="tosca (default): one service template with its types and sources; im: a template per component for the "
        "Infrastructure Manager; fdl: OSCAR's functions definition",
    )
    group = parser.add_argument_group("exports (--dialect im, --dialect fdl)")
    group.add_argument(
        "--with-secrets", action="store_true", help="write values in place of secret: references, for your eyes only"
    )
    group.add_argument("--domain", metavar="NAME", help=f"domain of the clusters' names (default {DOMAIN})")
    group.add_argument("--types-url", metavar="URL", help=f"types that templates import (default {TYPES_URL})")
    group.add_argument("--elastic", metavar="N", type=_positive, help="let clusters grow to N workers as jobs come")
    group.add_argument("--influx-url", metavar="URL", help="InfluxDB that the top layer sends its measurements to")
    group.add_argument("--influx-token-file", metavar="FILE", type=Path, help="file with that InfluxDB's token")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def run(args: argparse.Namespace, console: Console) -> int:
    """Write the folder and name the files; where findings are for a program, standard output has them instead."""
    for_person = args.format == "human"
    loaded = options.load(args, console) if for_person else options.read(args)
    findings: tuple[Diagnostic, ...] = ()
    if not for_person and has_errors(loaded.diagnostics):
        options.show_findings(loaded.diagnostics, args, console)
        return 2
    if args.dialect == "tosca":
        _check_no_export(args)
        paths = write_compiled(loaded, args.output)
    else:
        try:
            paths, findings = _export(loaded, args)
        except InvalidInputError as refused:
            if for_person:
                raise
            options.show_findings((*loaded.diagnostics, *refused.diagnostics), args, console)
            return 2
        if findings and for_person:
            console.progress(human.render_diagnostics(findings))
    if not for_person:
        options.show_findings((*loaded.diagnostics, *findings), args, console)
    for path in paths:
        (console.result if for_person else console.progress)(str(path))
    console.progress("\n" + render_cost(cost_of(loaded.topology, shipped_types())))
    return 0


def _export(loaded: LoadedTopology, args: argparse.Namespace) -> tuple[tuple[Path, ...], tuple[Diagnostic, ...]]:
    from orchestrator.services.export import write_export  # noqa: PLC0415 - a sixth of the start, for exports alone

    return write_export(
        loaded,
        args.output,
        args.dialect,
        _settings(args),
        with_secrets=args.with_secrets,
        token_file=args.influx_token_file,
    )


def _settings(args: argparse.Namespace) -> ExportSettings:
    given = {name: getattr(args, name) for name in ("domain", "types_url", "elastic", "influx_url")}
    chosen = {name: value for name, value in given.items() if value is not None}
    return ExportSettings(**chosen, influx_token=args.influx_token_file is not None)


def _check_no_export(args: argparse.Namespace) -> None:
    names = ("with_secrets", "domain", "types_url", "elastic", "influx_url", "influx_token_file")
    given = [f"--{name.replace('_', '-')}" for name in names if getattr(args, name)]
    if given:
        raise UsageError(
            "These options need an export.",
            detail=f"{', '.join(given)} says how an export is written, and --dialect tosca is none.",
            resolution="Add --dialect im or --dialect fdl, or leave them out.",
        )
