"""Print the JSON Schema of an input file, so that editors complete and check it; without NAME, list them."""

from __future__ import annotations

import argparse
from pathlib import Path

from orchestrator.cli.console import Console
from orchestrator.errors import UsageError
from orchestrator.production.schemas import render_schema, schema_names
from orchestrator.topology.reading import did_you_mean


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="which file (default: list them)")
    parser.add_argument("--all", action="store_true", help="write all of them")
    parser.add_argument("-o", "--output", metavar="DIR", type=Path, help="folder that --all writes to")


def run(args: argparse.Namespace, console: Console) -> int:
    """Print a schema, list them, or write all of them."""
    names = schema_names()
    if args.all != (args.output is not None) or (args.all and args.name):
        raise UsageError("--all and -o DIR go together, without NAME.", resolution="Give both, or NAME alone.")
    if args.all:
        _write(args.output, console)
    elif args.name is None:
        width = max(map(len, names))
        console.result("\n".join(f"{name:{width}}  {file}" for name, file in names.items()))
    elif args.name in names:
        console.result(render_schema(args.name))
    else:
        there = did_you_mean(args.name, names)
        raise UsageError("No such schema.", detail=f"{args.name!r} is no schema.{there}")
    return 0


def _write(folder: Path, console: Console) -> None:
    from orchestrator.services.compile import OutputError  # noqa: PLC0415 - only where files are written

    for name in schema_names():
        path = folder / f"{name}.schema.json"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(render_schema(name), encoding="utf-8")
        except OSError as cause:
            raise OutputError(folder, cause) from cause
        console.result(str(path))
