"""Builds the functions definition of OSCAR and, for cloud functions, of SCAR."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.production.dialects.wiring import Wiring

Tree = dict[str, Any]

_MOST_MEMORY = 10240
"""MB that AWS gives a function."""


def build_fdl(wiring: Wiring) -> Tree:
    """All functions, those first that others send their results to, since a store must be there before."""
    oscar: list[Tree] = []
    clouds: list[Tree] = []
    providers: dict[str, Tree] = {}
    for name in reversed(tuple(wiring.sites)):
        site = wiring.sites[name]
        service = wiring.service(name)
        if site.is_functions:
            clouds.append({"lambda": _lambda(service)})
            for kind, stores in service.get("storage_providers", {}).items():
                providers.setdefault(kind, {}).update(stores)
        else:
            oscar.append({site.cluster: _service(service)})
    functions: Tree = {}
    if oscar:
        functions["oscar"] = oscar
    if clouds:
        functions["aws"] = clouds
    return {"functions": functions} | ({"storage_providers": providers} if providers else {})


def _service(service: Mapping[str, Any]) -> Tree:
    """A service as OSCAR's interface has it."""
    found: Tree = {key: service[key] for key in ("name", "image", "script", "memory")}
    found |= {
        "cpu": f"{service['cpu']:g}",
        "environment": {"Variables": service["env_variables"]},
        "input": [_path(entry) for entry in service["input"]],
        "output": [_path(entry) for entry in service["output"]],
    }
    found |= {key: service[key] for key in ("enable_gpu", "enable_sgx", "storage_providers") if key in service}
    if "exposed" in service:
        found["expose"] = {key: int(value) for key, value in service["exposed"].items()}
    return found


def _lambda(service: Mapping[str, Any]) -> Tree:
    """A function as SCAR has it."""
    return {
        "name": service["name"],
        "memory": min(int(service["memory"].removesuffix("Mi")), _MOST_MEMORY),
        "init_script": service["script"],
        "container": {"image": service["image"]},
        "environment": {"Variables": service["env_variables"]},
        "input": [_path(entry) for entry in service["input"]],
        "output": [_path(entry) for entry in service["output"]],
    }


def _path(entry: Mapping[str, str]) -> Tree:
    """An input or output; here a suffix is one of a list."""
    return {key: [value] if key == "suffix" else value for key, value in entry.items()}
