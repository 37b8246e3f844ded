"""Compares exports with what the predecessor is tested to give, up to generated names, secrets and listed corrections.

The numbers are those of docs/infrastructure-manager-dialect.md. Everything else must be equal.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from orchestrator.production.dialects.settings import TYPES_URL

EXPECTED = Path(__file__).parents[2] / "fixtures" / "predecessor" / "expected"
FUNCTION = "tosca.nodes.aisprint.FaaS.Function"

_TOKEN = re.compile(r"(oscar-cluster-)?fixed\d+")
_CLUSTER, _SECRET = r"(oscar-cluster-[0-9a-f]{8})", r"(secret:[a-z0-9-]+)"


def corrected(template: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """The predecessor's template with the corrections that it needs.

    Args:
        template: What the predecessor gives.
        environment: Variables that its function lacks (corrections 3 and 4).
    """
    found = copy.deepcopy(dict(template))
    found["imports"] = [{"grycap_custom_types": TYPES_URL}]  # 1
    for name, node in found["topology_template"]["node_templates"].items():
        properties = node.get("properties", {})
        if node["type"] == FUNCTION:
            properties["env_variables"] |= environment
            for entry in properties["output"]:
                (entry["suffix"],) = entry["suffix"]  # 2
        elif name.startswith("wn_resource"):
            system = node["capabilities"]["os"]["properties"]
            system |= {"version": f"{system['version']:.2f}", "distribution": system["distribution"].lower()}  # 5
        elif name == "elastic_cluster_front_end":
            node["requirements"].insert(0, {"host": "front"})  # 6
            properties["im_auth"] = "secret:im-auth"  # 7
    return found


class Comparison:
    """Compares documents; a name or secret of ours always stands for the same one of the predecessor.

    Args:
        distinct: Whether the predecessor's tokens are all different, so that ours must be too.
    """

    def __init__(self, *, distinct: bool) -> None:
        self.distinct = distinct
        self.tokens: dict[str, str] = {}

    def same(self, ours: Any, theirs: Any, path: str = "") -> None:
        """Raise AssertionError at the first difference."""
        if path.endswith("/spec") and isinstance(theirs, str):
            ours, theirs = list(yaml.safe_load_all(ours)), list(yaml.safe_load_all(theirs))
        if isinstance(theirs, str) and _TOKEN.search(theirs):
            self._same_text(ours, theirs, path)
        elif isinstance(theirs, Mapping):
            self._same_mapping(ours, theirs, path)
        elif isinstance(theirs, list):
            assert isinstance(ours, list), path
            assert len(ours) == len(theirs), path
            for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
                self.same(one, other, f"{path}/{index}")
        else:
            assert type(ours) is type(theirs), path
            assert ours == theirs, path

    def _same_mapping(self, ours: Any, theirs: Mapping[str, Any], path: str) -> None:
        assert isinstance(ours, Mapping), path
        known = {token: own for own, token in self.tokens.items()}
        keys = {key: known.get(key, key) for key in theirs}
        assert set(ours) == set(keys.values()), path
        for key in sorted(keys):
            self.same(ours[keys[key]], theirs[key], f"{path}/{key}")

    def _same_text(self, ours: Any, theirs: str, path: str) -> None:
        assert isinstance(ours, str), path
        tokens = list(_TOKEN.finditer(theirs))
        ends = [0, *(token.end() for token in tokens)]
        pattern = "".join(
            re.escape(theirs[end : token.start()]) + (_CLUSTER if token[1] else _SECRET)
            for end, token in zip(ends, tokens, strict=False)
        )
        found = re.fullmatch(pattern + re.escape(theirs[ends[-1] :]), ours)
        assert found, f"{path}: {ours!r} is not {theirs!r}"
        for own, token in zip(found.groups(), tokens, strict=True):
            assert self.tokens.setdefault(own, token[0]) == token[0], path
        if self.distinct:
            assert len(set(self.tokens.values())) == len(self.tokens), path


def expected(name: str) -> dict[str, Any]:
    """A file that the predecessor is tested to give."""
    document: dict[str, Any] = yaml.safe_load((EXPECTED / f"{name}.yaml").read_text(encoding="utf-8"))
    return document
