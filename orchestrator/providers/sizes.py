"""What machines of any cloud have to have, and how sizes are compared with it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from orchestrator.errors import ProviderError
from orchestrator.providers.base import MachineRequest


def wanted_in_words(request: MachineRequest) -> str:
    """What a machine has to have."""
    parts = [f"{request.cpus} cores of {request.architecture}", f"{request.memory_mb} MB of memory"]
    if wants_gpu(request):
        count = gpus_wanted(request)
        parts.append(f"{count} graphics processor{'s' if count != 1 else ''} {request.gpu_model}".rstrip())
    if request.gpu_memory_mb:
        parts.append(f"{request.gpu_memory_mb} MB of graphics memory")
    named = (
        ("sgx", "SGX"),
        ("secure_boot", "secure boot"),
        ("measured_boot", "measured boot"),
        ("spot", "a spot offer"),
    )
    parts += [words for name, words in named if getattr(request, name)]
    return ", ".join(parts)


def wants_gpu(request: MachineRequest) -> bool:
    """Whether it needs a graphics processor."""
    return bool(request.gpus or request.gpu_memory_mb or request.gpu_model)


def gpus_wanted(request: MachineRequest) -> int:
    """How many graphics processors it needs."""
    return max(request.gpus, 1) if wants_gpu(request) else 0


def as_sold(gpu_memory_mb: int) -> int:
    """Graphics memory is sold in GB of 1000 MB: what is called 24 GB has 22888 MiB."""
    return int(gpu_memory_mb / 1024 * 10**9 / 2**20)


def is_model(models: Sequence[str], wanted: str) -> bool:
    """Whether the model is the wanted one, however that is written: ``T4``, ``NVIDIA Tesla T4``."""
    if not wanted:
        return True
    words = _words(wanted)
    return any(_words(model)[1:] and set(_words(model)[1:]) <= set(words) for model in models) or any(
        set(words) <= set(_words(model)) for model in models
    )


def no_such_flavor(request: MachineRequest, offers: str, otherwise: str) -> ProviderError:
    """The size that was named is not there.

    Args:
        request: The machine.
        offers: Who does not offer it, and to whom, as a sentence ends: ``"eu-central-1 does not offer"``.
        otherwise: What is taken where none is named: ``"the cheapest"``.
    """
    return ProviderError(
        "There is no such flavor.",
        detail=f"{request.address} is to be a {request.flavor}, which {offers}.",
        resolution=f"Name one that it has, or leave `flavorName` out for {otherwise} that will do.",
    )


def check_flavor(request: MachineRequest, lacking: Sequence[str], otherwise: str) -> None:
    """See that the size that was named has what is asked for.

    Args:
        request: The machine.
        lacking: What it does not have.
        otherwise: What is taken where none is named: ``"the cheapest"``.

    Raises:
        ProviderError: If it lacks something.
    """
    if lacking:
        raise ProviderError(
            "The flavor does not have what is asked for.",
            detail=f"{request.address} is to be a {request.flavor}, which lacks: {'; '.join(lacking)}.",
            resolution=f"Name another one, leave `flavorName` out for {otherwise} that will do, or ask for less.",
        )


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())
