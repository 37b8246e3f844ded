"""Why a machine cannot be reached or used over SSH, each cause in words of its own."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

import paramiko

from orchestrator.clients.transience import is_passing
from orchestrator.errors import RemoteError
from orchestrator.remote.keys import fingerprint
from orchestrator.remote.target import SshTarget

_FORWARDING = {
    paramiko.common.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED: "does not forward connections (AllowTcpForwarding)",
    paramiko.common.OPEN_FAILED_CONNECT_FAILED: "cannot connect to it",
}


class UnreachableError(RemoteError):
    """Nothing answers at the address (yet).

    Args:
        target: The machine.
        reason: Why, as a clause.
        transient: Whether it may answer a moment later.
    """

    def __init__(self, target: SshTarget, reason: str, *, transient: bool = True) -> None:
        super().__init__(
            "A machine cannot be reached.",
            detail=f"SSH to {target.login}: {reason}.",
            resolution="See that the machine runs, that the address is right and that nothing between blocks the port.",
        )
        self.transient = transient


class HostKeyError(RemoteError):
    """The machine shows another host key than the one pinned.

    Args:
        target: The machine; its ``host_key`` is what was expected.
        shown: The key that it shows.
    """

    def __init__(self, target: SshTarget, shown: str) -> None:
        self.shown = shown
        super().__init__(
            "A machine shows another host key than expected.",
            detail=f"{target.login} is pinned to {describe_key(target.host_key)} but shows {describe_key(shown)}: "
            "another machine answers at this address, or it was installed anew. The connection was refused.",
            resolution="Compare with what the machine itself says (`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` "
            "on its console). Only if it is the machine that you mean, give the new fingerprint as its host_key in "
            "physical_nodes.yaml or the inventory; what was recorded before no longer counts then.",
            doc="docs/doctor.md",
        )


class UnknownHostKeyError(RemoteError):
    """Nothing says which host key the machine must show.

    Args:
        target: The machine.
        reason: Why there is none, as a clause.
        resolution: What to do.
    """

    def __init__(self, target: SshTarget, reason: str, resolution: str) -> None:
        super().__init__(
            "A machine's host key is not known.",
            detail=f"{target.login}: {reason}, so it was not connected to.",
            resolution=resolution,
            doc="docs/doctor.md",
        )


class LoginRefusedError(RemoteError):
    """The machine does not take what was offered.

    Args:
        target: The machine.
        offered: What it was offered, one phrase a key.
        accepts: Ways of logging in that the machine says it takes, if it said so.
        reason: More that is known of the cause, as a sentence.
    """

    def __init__(
        self, target: SshTarget, offered: Sequence[str], accepts: Sequence[str] = (), reason: str = ""
    ) -> None:
        given = f"does not accept {_listed(offered)}" if offered else "was offered no key, since there is none to offer"
        detail = f"{target.login} {given}."
        if accepts:
            detail += f" It takes: {', '.join(accepts)}."
        if accepts and "publickey" not in accepts:
            reason = reason or "It takes no keys at all (PubkeyAuthentication)."
        super().__init__(
            "A machine refuses the login.",
            detail=f"{detail} {reason}".strip(),
            resolution=f"See that the user {target.user} exists there and that its authorized_keys holds the public "
            "half of this key, with a home folder that only the user can write to."
            if offered
            else "Name its private key as key_file, or load one into your agent with `ssh-add`.",
        )


def _listed(offered: Sequence[str]) -> str:
    return offered[0] if len(offered) == 1 else f"any of {len(offered)} keys: {', '.join(offered)}"


def describe_key(key: str) -> str:
    """A host key as a person compares it: its kind and its fingerprint."""
    kind, _, rest = key.partition(" ")
    if not rest:
        return key
    try:
        return f"{kind} {fingerprint(key)}"
    except (ValueError, IndexError):
        return f"{kind} …{rest[-12:]}"


def unreachable(target: SshTarget, reason: BaseException, timeout: float) -> UnreachableError:
    """The error for what came of an attempt to connect."""
    passing = _may_pass(_innermost(reason))
    return UnreachableError(target, _describe(reason, timeout), transient=passing)


def not_forwarded(target: SshTarget, reason: BaseException) -> UnreachableError:
    """The error for a machine that the one before it on the way does not connect to."""
    through = target.jump.login if target.jump is not None else "the machine in between"
    why = _FORWARDING.get(reason.code) if isinstance(reason, paramiko.ChannelException) else None
    words = f"{through}, which is on the way, {why or 'cannot connect to it'}"
    # What that machine says of it is the name of the kind of failure, or nothing.
    return UnreachableError(target, words if why else f"{words} ({reason})")


def _innermost(reason: BaseException) -> BaseException:
    # What every address of a name answered comes bundled.
    inner: BaseException = next(iter(getattr(reason, "errors", {}).values()), reason)
    return inner


def _may_pass(reason: BaseException) -> bool:
    # A machine that boots may take connections before it has an SSH server that says who it is.
    booting = isinstance(reason, paramiko.SSHException) and "Error reading SSH protocol banner" in str(reason)
    return booting or is_passing(reason)


def _describe(reason: BaseException, timeout: float) -> str:
    inner = _innermost(reason)
    if isinstance(inner, ConnectionRefusedError):
        return "the connection was refused, so the machine is up but nothing listens on this port"
    if isinstance(inner, TimeoutError):
        return f"no answer within {timeout:g} s"
    if isinstance(inner, socket.gaierror):
        return "the name is not known"
    if isinstance(inner, paramiko.ssh_exception.IncompatiblePeer):
        return f"the two sides have no algorithm in common ({inner})"
    if isinstance(inner, paramiko.SSHException):
        return f"something answered, but not as an SSH server should ({inner})"
    if isinstance(inner, EOFError):
        return "the connection was closed before anything was said"
    if isinstance(inner, OSError) and inner.errno:
        return os.strerror(inner.errno).lower()
    return str(inner) or type(inner).__name__
