"""Opens SSH connections, through other machines where need be, to machines that show the host key they must."""

from __future__ import annotations

import base64
import binascii
import logging
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import paramiko
from paramiko.pkey import UnknownKeyType

from orchestrator.errors import RemoteError
from orchestrator.remote.failures import (
    HostKeyError,
    LoginRefusedError,
    UnknownHostKeyError,
    not_forwarded,
    unreachable,
)
from orchestrator.remote.identities import identities
from orchestrator.remote.target import SshTarget

_LOG_CHANNEL = "orchestrator.ssh"

# What the library says goes to the debug log, and not to the terminal where there is no such log.
logging.getLogger(_LOG_CHANNEL).addHandler(logging.NullHandler())


@contextmanager
def connected(target: SshTarget, timeout: float) -> Iterator[paramiko.Transport]:
    """A connection that is logged in, for the time of the block.

    Args:
        target: The machine.
        timeout: Seconds for each step: to connect, to agree on keys, to log in.

    Raises:
        UnreachableError: If nothing answers, there or on the way.
        HostKeyError: If a machine shows another key.
        UnknownHostKeyError: If no key is known that it must show.
        LoginRefusedError: If it takes none of the keys.
        RemoteError: If a key cannot be read.
    """
    with ExitStack() as stack:
        yield _logged_in(target, timeout, stack)


def read_host_key(target: SshTarget, timeout: float) -> str:
    """The key that a machine shows, ``ssh-ed25519 AAAA…``, without logging in to it.

    A fingerprint that is given in place of the key is compared with it.

    Raises:
        HostKeyError: If the fingerprint is another.
        UnreachableError: If nothing answers, there or on the way.
    """
    with ExitStack() as stack:
        shown = _shown(_negotiated(target, timeout, stack))
    if target.host_key and not _matches(target, shown):
        raise HostKeyError(target, _text(shown))
    return _text(shown)


def _logged_in(target: SshTarget, timeout: float, stack: ExitStack) -> paramiko.Transport:
    if not target.host_key:
        raise UnknownHostKeyError(target, "no host key is recorded for it", "Run `deploy doctor` for it first.")
    transport = _negotiated(target, timeout, stack)
    shown = _shown(transport)
    if not _matches(target, shown):
        raise HostKeyError(target, _text(shown))
    try:
        _log_in(transport, target)
    except (OSError, EOFError, paramiko.SSHException) as reason:
        raise unreachable(target, reason, timeout) from reason
    return transport


def _negotiated(target: SshTarget, timeout: float, stack: ExitStack) -> paramiko.Transport:
    """A connection on which the machine has shown its key."""
    connection = _connection(target, timeout, stack)
    try:
        transport = paramiko.Transport(connection)
        stack.callback(transport.close)
        transport.set_log_channel(_LOG_CHANNEL)
        transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = timeout
        _prefer(transport, target.host_key.partition(" ")[0])
        # The first words have a bound of their own. It returns without a word when the time is over.
        transport.start_client(timeout=2 * timeout)
        if not transport.initial_kex_done:
            raise TimeoutError
    except (OSError, EOFError, paramiko.SSHException) as reason:
        raise unreachable(target, reason, timeout) from reason
    return transport


def _connection(target: SshTarget, timeout: float, stack: ExitStack) -> socket.socket | paramiko.Channel:
    if target.jump is None:
        try:
            connection = socket.create_connection((target.host, target.port), timeout)
        except OSError as reason:
            raise unreachable(target, reason, timeout) from reason
        stack.callback(connection.close)
        return connection
    try:
        through = _logged_in(target.jump, timeout, stack)
    except RemoteError as reason:
        reason.detail += f" It is on the way to {target.login}."
        raise
    try:
        return through.open_channel("direct-tcpip", (target.host, target.port), ("", 0), timeout=timeout)
    except (OSError, EOFError, paramiko.SSHException) as reason:
        raise not_forwarded(target, reason) from reason


def _prefer(transport: paramiko.Transport, kind: str) -> None:
    """Ask for the kind of key that is pinned, since a machine may have several."""
    options = transport.get_security_options()
    wanted = [k for k in options.key_types if k == kind or (kind == "ssh-rsa" and k.startswith("rsa-sha2-"))]
    options.key_types = tuple(wanted + [k for k in options.key_types if k not in wanted])


def _log_in(transport: paramiko.Transport, target: SshTarget) -> None:
    offered: list[str] = []
    accepts: list[str] = []
    reason = ""
    with identities(target) as candidates:
        for candidate in candidates:
            offered.append(candidate.name)
            try:
                further = transport.auth_publickey(target.user, candidate.key)
            except paramiko.BadAuthenticationType as refusal:
                accepts = list(refusal.allowed_types)
            except paramiko.AuthenticationException:
                if not transport.is_active():
                    reason = "It broke off after so many attempts; name the key that it takes." * (len(offered) > 1)
                    break
            else:
                if not further:
                    return
                accepts = [*further]
                reason = "It took the key but asks for more than that."
                break
    if transport.is_active() and not accepts:
        accepts = _accepted(transport, target.user)
    raise LoginRefusedError(target, offered, accepts, reason)


def _accepted(transport: paramiko.Transport, user: str) -> list[str]:
    """Ways of logging in that the machine names when it is asked without one."""
    try:
        transport.auth_none(user)
    except paramiko.BadAuthenticationType as answer:
        return list(answer.allowed_types)
    except (paramiko.SSHException, OSError, EOFError):
        pass
    return []


def _shown(transport: paramiko.Transport) -> paramiko.PKey:
    return transport.get_remote_server_key()


def _text(key: paramiko.PKey) -> str:
    return f"{key.get_name()} {key.get_base64()}"


def _matches(target: SshTarget, shown: paramiko.PKey) -> bool:
    if " " not in target.host_key:
        return shown.fingerprint == target.host_key
    kind, _, rest = target.host_key.partition(" ")
    try:
        expected = paramiko.PKey.from_type_string(kind, base64.b64decode(rest.split()[0]))
    except (paramiko.SSHException, UnknownKeyType, binascii.Error, IndexError, ValueError) as reason:
        raise RemoteError(
            "A pinned host key cannot be read.",
            detail=f"The host key recorded for {target.login} is {target.host_key!r}.",
            resolution="It must have the form 'ssh-ed25519 AAAA…', or be a fingerprint 'SHA256:…'.",
        ) from reason
    return shown.asbytes() == expected.asbytes()
