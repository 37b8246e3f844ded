"""SSH with pinned host keys: wait for a machine, or run commands on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Timer

import paramiko

from orchestrator.errors import CancelledError, RemoteError
from orchestrator.remote.connection import connected
from orchestrator.remote.failures import HostKeyError, LoginRefusedError, UnknownHostKeyError, UnreachableError
from orchestrator.remote.host_keys import KnownHosts, pin
from orchestrator.remote.target import CONNECT_TIMEOUT, SshTarget

__all__ = [
    "CommandResult",
    "Conversation",
    "HostKeyError",
    "LoginRefusedError",
    "Session",
    "UnreachableError",
    "open_session",
    "run",
    "wait_for_ssh",
]

_POLL_INTERVAL = 0.25
_CHUNK = 32768


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a command left: exit code (-1 if a signal ended it), standard output and standard error as text."""

    exit_code: int
    stdout: str
    stderr: str


class Session:
    """A machine that is logged in to; commands run one after the other.

    Args:
        target: The machine.
        transport: The connection to it.
    """

    def __init__(self, target: SshTarget, transport: paramiko.Transport) -> None:
        self.target = target
        self._transport = transport

    def run(self, command: str, timeout: float, stdin: bytes = b"") -> CommandResult:
        """Run ``command`` in the user's shell over there.

        Args:
            command: Shell text; nothing secret, since others over there can see it.
            timeout: Seconds that the command may take.
            stdin: What it is given on standard input.

        Raises:
            RemoteError: If the connection breaks or the command takes longer.
        """
        end = time.monotonic() + timeout
        try:
            channel = self._transport.open_session(timeout=CONNECT_TIMEOUT)
            with _closed_after(self._transport, CONNECT_TIMEOUT):
                channel.exec_command(command)
            stdout, stderr = _exchange(channel, stdin, end)
        except TimeoutError as reason:
            raise RemoteError(
                "A command on a machine took too long.",
                detail=f"{command!r} on {self.target.login} did not end within {timeout:g} s.",
                resolution="Look on the machine what it waits for.",
            ) from reason
        except (OSError, EOFError, paramiko.SSHException) as reason:
            raise UnreachableError(self.target, f"the connection broke ({reason})") from reason
        return CommandResult(channel.recv_exit_status(), stdout, stderr)

    @contextmanager
    def talk(self, command: str) -> Iterator[Conversation]:
        """Run a command that is spoken with line by line; at the end of the block its input ends.

        Args:
            command: Shell text; nothing secret.

        Raises:
            RemoteError: If the connection breaks.
        """
        try:
            channel = self._transport.open_session(timeout=CONNECT_TIMEOUT)
            with _closed_after(self._transport, CONNECT_TIMEOUT):
                channel.exec_command(command)
        except (OSError, EOFError, paramiko.SSHException) as reason:
            raise UnreachableError(self.target, f"the connection broke ({reason})") from reason
        try:
            yield Conversation(self.target, channel)
        finally:
            channel.close()


class Conversation:
    """A command that runs over there and is spoken with.

    Args:
        target: The machine.
        channel: What leads to the command.
    """

    def __init__(self, target: SshTarget, channel: paramiko.Channel) -> None:
        self._target = target
        self._channel = channel
        self._rest = b""

    def say(self, line: str, timeout: float) -> None:
        """Write a line to its standard input.

        Raises:
            RemoteError: If it does not take it in time.
        """
        self._channel.settimeout(timeout)
        try:
            self._channel.sendall(line.encode() + b"\n")
        except (OSError, EOFError) as reason:
            raise UnreachableError(self._target, f"the connection broke ({reason})") from reason

    def hear(self, timeout: float) -> str:
        """The next line of its standard output; empty if it has ended.

        Raises:
            RemoteError: If nothing comes in time.
        """
        end = time.monotonic() + timeout
        while b"\n" not in self._rest:
            self._channel.settimeout(max(0.01, end - time.monotonic()))
            try:
                more = self._channel.recv(65536)
            except (OSError, EOFError) as reason:
                raise UnreachableError(self._target, f"nothing came within {timeout:g} s") from reason
            if not more:
                break
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode(errors="replace")


@contextmanager
def open_session(target: SshTarget, timeout: float = CONNECT_TIMEOUT) -> Iterator[Session]:
    """Log in for the time of the block.

    Args:
        target: The machine.
        timeout: Seconds for each step of connecting.

    Raises:
        RemoteError: If it cannot be reached, shows another host key or takes no key.
    """
    with connected(target, timeout) as transport:
        yield Session(target, transport)


def wait_for_ssh(
    target: SshTarget,
    timeout: float,
    cancel: Event,
    known: KnownHosts | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> SshTarget:
    """Return when a login works: the machine with its host key, which may have been found out.

    Args:
        target: The machine.
        timeout: Seconds in all.
        cancel: Ends the wait when set.
        known: Where host keys are recorded, for a machine whose key is not known beforehand.
        tell: Called with a line for each key that is taken at the first contact.

    Raises:
        UnreachableError: If the machine did not answer in time; it says how long was waited, and is not transient.
        LoginRefusedError: If it was still refusing the key when the time was over.
        HostKeyError: At once, if another host key is shown.
        UnknownHostKeyError: At once, if nothing says which key it must show.
        CancelledError: If ``cancel`` was set.
    """
    end = time.monotonic() + timeout
    while True:
        step = max(0.5, min(CONNECT_TIMEOUT, end - time.monotonic()))
        try:
            pinned = target if known is None else pin(target, known, tell, step)
            with connected(pinned, step):
                return pinned
        except (HostKeyError, UnknownHostKeyError):
            raise
        except RemoteError as reason:
            # A booting machine first refuses connections, then may refuse logins until its first start is through.
            if time.monotonic() + _POLL_INTERVAL >= end:
                reason.detail = f"{reason.detail} Waited {timeout:g} s for SSH to answer."
                reason.transient = False
                raise
        if cancel.wait(_POLL_INTERVAL):
            raise CancelledError("Interrupted.", detail=f"Was waiting for SSH at {target.login}.")


def run(target: SshTarget, command: str, timeout: float, stdin: bytes = b"") -> CommandResult:
    """Log in and run one command, as ``Session.run`` does.

    Raises:
        RemoteError: If the machine cannot be reached or the command takes longer.
    """
    with open_session(target) as session:
        return session.run(command, timeout, stdin)


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


def _exchange(channel: paramiko.Channel, stdin: bytes, end: float) -> tuple[str, str]:
    # All streams are served in turn: a command that fills one while another is waited for would never end.
    parts: tuple[list[bytes], list[bytes]] = ([], [])
    left = memoryview(stdin)
    is_open = True
    while True:
        # Asked before what has come is read: the last of it and the end may arrive in between.
        has_ended = channel.exit_status_ready() and channel.eof_received
        busy = _read(channel, parts)
        try:
            if left and channel.send_ready():
                left = left[channel.send(bytes(left[:_CHUNK])) :]
                busy = True
            if is_open and not left:
                channel.shutdown_write()
                is_open = False
        except OSError:
            # The command has ended without reading all that it was given.
            left, is_open = memoryview(b""), False
        if busy:
            continue
        if has_ended:
            return b"".join(parts[0]).decode(errors="replace"), b"".join(parts[1]).decode(errors="replace")
        if channel.closed and not channel.exit_status_ready():
            raise EOFError("the machine closed it")
        if time.monotonic() >= end:
            channel.close()
            raise TimeoutError
        time.sleep(0.01)


def _read(channel: paramiko.Channel, parts: tuple[list[bytes], list[bytes]]) -> bool:
    """Take what has come on both streams; whether there was anything."""
    read = False
    if channel.recv_ready():
        parts[0].append(channel.recv(65536))
        read = True
    if channel.recv_stderr_ready():
        parts[1].append(channel.recv_stderr(65536))
        read = True
    return read
