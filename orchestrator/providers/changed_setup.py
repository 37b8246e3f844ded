"""Sets a machine of a cloud as it was: what differs of its setup, one thing after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import ProviderError
from orchestrator.providers.base import Machine
from orchestrator.topology.model import Value

Step = Callable[[Mapping[str, Any], Value], None]
"""Sets one thing of a machine, as the cloud describes it, to the value after it."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """What of a machine's setup no cloud changes in place.

    Attributes:
        network: Name in the setup of where the machine is.
        volumes: The same, of the volumes that go with it.
        why: Why it cannot be moved, as the end of a sentence.
    """

    network: str
    volumes: str
    why: str


def set_back(
    described: Mapping[str, Any],
    machine: Machine,
    wanted: Mapping[str, Value],
    fixed: Fixed,
    steps: Mapping[str, Step],
) -> None:
    """Set what differs of ``wanted``, in the order of the steps.

    Args:
        described: The machine as the cloud describes it.
        machine: The same, as we do.
        wanted: What its setup is to be.
        fixed: What cannot be set.
        steps: How the rest is set, by name in the setup.

    Raises:
        ProviderError: If something differs that cannot be set; then nothing is.
    """
    differing = {name: value for name, value in wanted.items() if machine.setup.get(name) != value}
    if fixed.network in differing:
        raise ProviderError(
            "A machine cannot be moved to another network.",
            detail=f"{machine.id} is in {machine.setup.get(fixed.network) or 'no network'} and is to be in "
            f"{differing[fixed.network]}; {fixed.why}.",
            resolution="Make it anew with `--replace`, or accept it with `--refresh-only`.",
        )
    if fixed.volumes in differing:
        raise ProviderError(
            "A machine has other volumes than it was made with.",
            detail=f"{machine.id} has {_in_words(machine.setup.get(fixed.volumes))} that go with it, and is to have "
            f"{_in_words(differing[fixed.volumes])}.",
            resolution="Attach it again so that it goes with the machine, make the machine anew with "
            "`--replace`, or accept it with `--refresh-only`.",
        )
    for name, step in steps.items():
        if name in differing:
            step(described, differing[name])


def labels_in(wanted: Value) -> tuple[dict[str, str], list[str]]:
    """What to set of the labels in a setup, and what to take away."""
    values = wanted if isinstance(wanted, Mapping) else {}
    kept = {name: str(value) for name, value in values.items() if value is not None}
    return kept, [name for name, value in values.items() if value is None]


def rules_in(wanted: Value) -> list[str]:
    """The texts of rules in a setup."""
    return [str(text) for text in wanted] if isinstance(wanted, list) else []


def _in_words(ids: Value) -> str:
    return ", ".join(str(one) for one in ids) if isinstance(ids, list) and ids else "none"
