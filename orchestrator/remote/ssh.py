"""SSH with pinned host keys: wait for a machine, run a command on it, or hand it to OpenSSH's client."""

from __future__ import annotations

import base64
import binascii
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Timer

import paramiko
from paramiko.pkey import UnknownKeyType

from orchestrator.clients.transience import is_passing
from orchestrator.errors import CancelledError, RemoteError
from orchestrator.remote.target import CONNECT_TIMEOUT, SshTarget

_POLL_INTERVAL = 0.25


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a command left: exit code (-1 if a signal ended it), standard output and standard error as text."""

    exit_code: int
    stdout: str
    stderr: str


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
    """The machine shows another host key than the one pinned."""

    def __init__(self, target: SshTarget, shown: str) -> None:
        super().__init__(
            "A machine shows another host key than expected.",
            detail=f"{target.login} is pinned to {_shorten(target.host_key)} but shows {_shorten(shown)}: another "
            "machine answers at this address, or it was installed anew.",
            resolution="Find out which of the two it is before you go on; the connection was refused.",
        )


class LoginRefusedError(RemoteError):
    """The machine does not take the key."""

    def __init__(self, target: SshTarget) -> None:
        super().__init__(
            "A machine refuses the login.",
            detail=f"{target.login} does not accept the key {target.key_file}.",
            resolution="See that the user exists there and that its authorized_keys holds the public half of this key.",
        )


def wait_for_ssh(target: SshTarget, timeout: float, cancel: Event) -> None:
    """Return when a login works.

    Args:
        target: The machine.
        timeout: Seconds in all.
        cancel: Ends the wait when set.

    Raises:
        UnreachableError: If the machine did not answer in time; it says how long was waited, and is not transient.
        LoginRefusedError: If it was still refusing the key when the time was over.
        HostKeyError: At once, if another host key is shown.
        CancelledError: If ``cancel`` was set.
    """
    end = time.monotonic() + timeout
    while True:
        try:
            with _connected(target, max(0.5, min(CONNECT_TIMEOUT, end - time.monotonic()))):
                return
        except HostKeyError:
            raise
        except RemoteError as reason:
            # A booting machine first refuses connections, then may refuse logins until its first start is through.
            if time.monotonic() + _POLL_INTERVAL >= end:
                reason.detail = f"{reason.detail} Waited {timeout:g} s for SSH to answer."
                reason.transient = False
                raise
        if cancel.wait(_POLL_INTERVAL):
            raise CancelledError("Interrupted.", detail=f"Was waiting for SSH at {target.login}.")


def run(target: SshTarget, command: str, timeout: float) -> CommandResult:
    """Run ``command`` in the user's shell over there.

    Args:
        target: The machine.
        command: Shell text.
        timeout: Seconds that the command may take.

    Raises:
        RemoteError: If the machine cannot be reached or the command takes longer.
    """
    end = time.monotonic() + timeout
    with _connected(target, CONNECT_TIMEOUT) as client:
        try:
            transport = _transport(client, target)
            channel = transport.open_session(timeout=CONNECT_TIMEOUT)
            with _closed_after(transport, CONNECT_TIMEOUT):
                channel.exec_command(command)
            stdout, stderr = _drain(channel, end)
        except TimeoutError as reason:
            raise RemoteError(
                "A command on a machine took too long.",
                detail=f"{command!r} on {target.login} did not end within {timeout:g} s.",
                resolution="Look on the machine what it waits for.",
            ) from reason
        except (OSError, EOFError, paramiko.SSHException) as reason:
            raise UnreachableError(target, f"the connection broke ({reason})") from reason
        return CommandResult(channel.recv_exit_status(), stdout, stderr)


@contextmanager
def _closed_after(transport: paramiko.Transport, seconds: float) -> Iterator[None]:
    """Close the connection unless the block ends in time: paramiko waits without bound for some answers."""
    timer = Timer(seconds, transport.close)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def _connected(target: SshTarget, timeout: float) -> Iterator[paramiko.SSHClient]:
    client, through = _open(target, timeout)
    try:
        yield client
    finally:
        client.close()
        if through is not None:
            through.close()


def _open(target: SshTarget, timeout: float) -> tuple[paramiko.SSHClient, paramiko.SSHClient | None]:
    through, channel = None, None
    if target.jump is not None:
        through, _ = _open(target.jump, timeout)
        channel = _forward(through, target, timeout)
    try:
        return _login(target, timeout, channel), through
    except BaseException:
        if through is not None:
            through.close()
        raise


def _forward(through: paramiko.SSHClient, target: SshTarget, timeout: float) -> paramiko.Channel:
    try:
        return _transport(through, target).open_channel(
            "direct-tcpip", (target.host, target.port), ("", 0), timeout=timeout
        )
    except (OSError, EOFError, paramiko.SSHException) as reason:
        through.close()
        raise UnreachableError(target, f"the machine in between cannot connect to it ({reason})") from reason


def _transport(client: paramiko.SSHClient, target: SshTarget) -> paramiko.Transport:
    transport = client.get_transport()
    if transport is None:
        raise UnreachableError(target, "the connection broke")
    return transport


def _login(target: SshTarget, timeout: float, channel: paramiko.Channel | None) -> paramiko.SSHClient:
    client = _pinned_client(target)
    try:
        client.connect(
            target.host,
            target.port,
            target.user,
            pkey=_load_key(target.key_file),
            timeout=timeout,
            banner_timeout=timeout,
            auth_timeout=timeout,
            allow_agent=False,
            look_for_keys=False,
            sock=channel,
        )
    except paramiko.BadHostKeyException as reason:
        client.close()
        raise HostKeyError(target, f"{reason.key.get_name()} {reason.key.get_base64()}") from reason
    except paramiko.AuthenticationException as reason:
        client.close()
        raise LoginRefusedError(target) from reason
    except (paramiko.SSHException, OSError, EOFError) as reason:
        client.close()
        raise UnreachableError(target, _describe(reason, timeout), transient=_may_pass(_innermost(reason))) from reason
    return client


def _pinned_client(target: SshTarget) -> paramiko.SSHClient:
    kind, _, rest = target.host_key.partition(" ")
    try:
        key = paramiko.PKey.from_type_string(kind, base64.b64decode(rest.split()[0]))
    except (paramiko.SSHException, UnknownKeyType, binascii.Error, IndexError, ValueError) as reason:
        raise RemoteError(
            "A pinned host key cannot be read.",
            detail=f"The host key recorded for {target.login} is {target.host_key!r}.",
            resolution="It must have the form 'ssh-ed25519 AAAA…'.",
        ) from reason
    client = paramiko.SSHClient()
    name = target.host if target.port == 22 else f"[{target.host}]:{target.port}"
    client.get_host_keys().add(name, kind, key)
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    return client


def _load_key(path: Path) -> paramiko.PKey:
    try:
        return paramiko.PKey.from_path(path)
    except (OSError, ValueError, paramiko.SSHException, UnknownKeyType) as reason:
        raise RemoteError(
            "A private key cannot be read.",
            detail=f"{path}: {reason}.",
            resolution="It must be a private key in OpenSSH's form without a passphrase.",
        ) from reason


def _drain(channel: paramiko.Channel, end: float) -> tuple[str, str]:
    # Both streams are read in turn: a command that fills one while the other is read would never end.
    parts: tuple[list[bytes], list[bytes]] = ([], [])
    while True:
        read = False
        if channel.recv_ready():
            parts[0].append(channel.recv(65536))
            read = True
        if channel.recv_stderr_ready():
            parts[1].append(channel.recv_stderr(65536))
            read = True
        if read:
            continue
        if channel.exit_status_ready() and channel.eof_received:
            return b"".join(parts[0]).decode(errors="replace"), b"".join(parts[1]).decode(errors="replace")
        if channel.closed and not channel.exit_status_ready():
            raise EOFError("the machine closed it")
        if time.monotonic() >= end:
            channel.close()
            raise TimeoutError
        time.sleep(0.01)


def _innermost(reason: BaseException) -> BaseException:
    # paramiko bundles what every address of a name answered.
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
    if isinstance(inner, paramiko.SSHException):
        return f"something answered, but not as an SSH server should ({inner})"
    return str(inner) or type(inner).__name__


def _shorten(key: str) -> str:
    kind, _, rest = key.partition(" ")
    return f"{kind} …{rest.split()[0][-12:]}" if rest else key
