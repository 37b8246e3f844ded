"""What kubectl prints."""

from __future__ import annotations

import argparse
import json
import re
import sys
from typing import Any

from k3s_standin.api_client import CommandError
from k3s_standin.tables import render_nodes, render_objects


def show(asked: argparse.Namespace, values: list[dict[str, Any]]) -> None:
    """Print objects in the form that was asked for."""
    listing = {"apiVersion": "v1", "items": values, "kind": "List", "metadata": {"resourceVersion": ""}}
    shown = listing if asked.listed else values[0]
    if asked.output.startswith("jsonpath="):
        print(read_jsonpath(shown, asked.output.removeprefix("jsonpath=")), end="")
    elif asked.output in {"json", "yaml"}:
        # JSON is YAML too.
        print(json.dumps(shown, indent=4))
    elif asked.output == "name":
        print("\n".join(f"{v['kind'].lower()}/{v['metadata']['name']}" for v in values))
    elif asked.output in {"", "wide"}:
        show_table(asked, values)
    else:
        raise CommandError(f"error: the stand-in for K3s does not print as {asked.output}")


def show_table(asked: argparse.Namespace, values: list[dict[str, Any]]) -> None:
    """Print objects as a table."""
    if not values:
        print("No resources found", file=sys.stderr)
        return
    table = render_nodes(values) if values[0]["kind"] == "Node" else render_objects(values)
    columns = table["columnDefinitions"]
    chosen = [i for i, c in enumerate(columns) if c["priority"] == 0 or asked.output == "wide"]
    header = [] if asked.no_headers else [[str(c["name"]).upper() for c in columns]]
    lines = [[str(line[i]) for i in chosen] for line in [*header, *(row["cells"] for row in table["rows"])]]
    widths = [max((len(line[i]) for line in lines), default=0) for i in range(len(chosen))]
    for line in lines:
        print("   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def read_jsonpath(value: Any, template: str) -> str:
    """``{.a.b[*].c}`` with text around it; no filters."""

    def follow(found: list[Any], path: str) -> list[Any]:
        for key, index in re.findall(r"\.((?:[\w/-]|\\\.)+)|\[(\*|[0-9]+)\]", path):
            if key:
                found = [
                    v[key.replace("\\.", ".")] for v in found if isinstance(v, dict) and key.replace("\\.", ".") in v
                ]
            else:
                found = [e for v in found for e in (v if index == "*" else v[int(index) : int(index) + 1])]
        return found

    def text(match: re.Match[str]) -> str:
        if match.group(1).startswith('"'):
            return str(json.loads(match.group(1)))
        if "?(" in match.group(1) or "range" in match.group(1):
            raise CommandError("error: the stand-in for K3s knows plain jsonpath only")
        return " ".join(v if isinstance(v, str) else json.dumps(v) for v in follow([value], match.group(1)))

    return re.sub(r"\{([^}]*)\}", text, template)
