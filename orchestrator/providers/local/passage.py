"""Lets machines of one network talk to each other where another engine's packet filter would drop it.

An engine sets the forward policy to DROP and accepts its own bridges. When an engine of ours runs beside somebody
else's, it leaves the packet filter alone, so that nothing accepts the bridges of our networks: then one rule for each
network does, and goes with it.
"""

from __future__ import annotations

import shutil
import subprocess

from docker.models.networks import Network

from orchestrator.errors import ProviderError

_TIMEOUT = 10


def open_passage(network: Network) -> None:
    """Accept what goes from machine to machine of a network; there already: nothing happens.

    Raises:
        ProviderError: If the packet filter refuses.
    """
    rule = _rule(network)
    if _iptables("--check", "FORWARD", *rule) in (0, None):
        return
    if _iptables("--insert", "FORWARD", *rule):
        raise ProviderError(
            "The machines cannot reach each other.",
            detail=f"Another engine's packet filter drops what passes {_bridge(network)}, and it took no rule for it.",
            resolution="Stop the other engine, or let this program use it (DOCKER_HOST).",
        )


def close_passage(network: Network) -> None:
    """Take the rule back, if there is one."""
    rule = _rule(network)
    if _iptables("--check", "FORWARD", *rule) == 0:
        _iptables("--delete", "FORWARD", *rule)


def _bridge(network: Network) -> str:
    return f"br-{(network.id or '')[:12]}"


def _rule(network: Network) -> tuple[str, ...]:
    bridge = _bridge(network)
    return ("--in-interface", bridge, "--out-interface", bridge, "--jump", "ACCEPT")


def _iptables(action: str, chain: str, *rule: str) -> int | None:
    """Exit status of iptables; ``None`` where there is none, and so no filter that it could have set."""
    program = shutil.which("iptables", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if program is None:
        return None
    arguments = [program, "--wait", "5", action, chain, *rule]
    try:
        return subprocess.run(arguments, capture_output=True, timeout=_TIMEOUT, check=False).returncode
    except subprocess.TimeoutExpired as cause:
        raise ProviderError(
            "The packet filter does not answer.",
            detail=f"`iptables {action} {chain}` did not end within {_TIMEOUT} s: another program holds its lock.",
            resolution="See which program changes the packet filter all the time, then repeat.",
        ).passing() from cause
