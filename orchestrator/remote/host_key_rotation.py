"""Gives a machine a host key that it made itself, in place of the one that it was started with.

Two steps, with the new public key made durable by the caller between them: after a crash the machine shows the former
key or the new one, and both are known. Nothing is taken from a machine but over a connection to a key that is known.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Event

from orchestrator.errors import CancelledError, RemoteError
from orchestrator.remote.failures import HostKeyError, UnreachableError
from orchestrator.remote.host_keys import KnownHosts
from orchestrator.remote.ssh import Session, open_session, wait_for_ssh
from orchestrator.remote.target import SshTarget, is_host_key

HOST_KEY = "/etc/ssh/ssh_host_ed25519_key"
"""Where a machine's server has the private half."""

RELOAD = "systemctl reload ssh || systemctl reload sshd || service ssh reload || service sshd reload"
"""Has its server read the key anew. Where none of these does it, each connection has a server of its own."""

_COMMAND_TIMEOUT = 30.0
_RELOAD_TIMEOUT = 30.0
_POLL = 0.25

_MAKE = """set -eu; umask 077; key=$1
public() { ssh-keygen -y -f "$1" | cut -d ' ' -f 1-2; }
if ! [ -s "$key.next" ]; then
  if [ "$(public "$key")" != "$2" ]; then public "$key"; exit 0; fi
  rm -f "$key.next.new" "$key.next.new.pub"
  ssh-keygen -q -t ed25519 -N '' -C '' -f "$key.next.new"
  rm -f "$key.next.new.pub"
  mv "$key.next.new" "$key.next"; sync
fi
public "$key.next"
"""
_TAKE = """set -eu; umask 077; key=$1
public() { ssh-keygen -y -f "$1" | cut -d ' ' -f 1-2; }
if [ -s "$key.next" ] && [ "$(public "$key.next")" = "$2" ]; then
  chmod 600 "$key.next"; mv "$key.next" "$key"; sync
fi
if [ "$(public "$key")" != "$2" ]; then echo 'the key that was made for it is gone' >&2; exit 3; fi
public "$key" > "$key.pub"; chmod 644 "$key.pub"
(%s) > /dev/null 2>&1 || true
"""


def wait_for_one_of(
    target: SshTarget,
    keys: Sequence[str],
    timeout: float,
    cancel: Event,
    known: KnownHosts,
    tell: Callable[[str], None],
) -> SshTarget:
    """Wait until a login works at a machine that may show any of several host keys, all of them known.

    Args:
        target: The machine.
        keys: Its keys, the likeliest first; empty for the target's own.
        timeout: Seconds in all.
        cancel: Ends the wait when set.
        known: Where host keys are recorded.
        tell: Called with a line for each key that is taken at the first contact.

    Raises:
        RemoteError: As ``wait_for_ssh`` does.
    """
    end = time.monotonic() + timeout
    try:
        first = replace(target, host_key=keys[0]) if keys else target
        return wait_for_ssh(first, timeout, cancel, known, tell)
    except HostKeyError as reason:
        if reason.shown not in keys[1:]:
            raise
        left = max(1.0, end - time.monotonic())
        return wait_for_ssh(replace(target, host_key=reason.shown), left, cancel, known, tell)


def make_next_key(target: SshTarget) -> str:
    """Have the machine make its next host key, or say which one it has made before; gives the public half.

    Raises:
        RemoteError: If the machine cannot be reached or does not do it.
    """
    with open_session(target) as session:
        key = _run(session, _MAKE, " ".join(target.host_key.split()[:2])).strip()
    if not is_host_key(key):
        raise _refused(target, f"it answered {key[:80]!r}")
    return key


def take_next_key(target: SshTarget, next_key: str, cancel: Event) -> SshTarget:
    """Have the machine show the key that ``make_next_key`` gave, and see that it does.

    Args:
        target: The machine with the key that it shows now.
        next_key: The public half of the key that it made.
        cancel: Ends the wait when set.

    Raises:
        RemoteError: If it does not show that key; it goes on with the former one then.
    """
    with open_session(target) as session:
        _run(session, _TAKE % RELOAD, next_key)
    renewed = replace(target, host_key=next_key)
    end = time.monotonic() + _RELOAD_TIMEOUT
    while True:
        try:
            with open_session(renewed):
                return renewed
        except HostKeyError as reason:
            if reason.shown != target.host_key or time.monotonic() >= end:
                raise
        except UnreachableError:
            # While it reads the key anew nothing answers for a moment.
            if time.monotonic() >= end:
                raise
        if cancel.wait(_POLL):
            raise CancelledError("Interrupted.", detail=f"Was waiting for the new host key of {target.login}.")


def _run(session: Session, script: str, key: str) -> str:
    sudo = "" if session.target.user == "root" else "sudo -n "
    done = session.run(f"{sudo}sh -s -- {HOST_KEY} {shlex.quote(key)}", _COMMAND_TIMEOUT, script.encode())
    if done.exit_code:
        raise _refused(session.target, done.stderr.strip()[-300:] or f"exit code {done.exit_code}")
    return done.stdout


def _refused(target: SshTarget, said: str) -> RemoteError:
    return RemoteError(
        "A machine did not renew its host key.",
        detail=f"{target.login}: {said}. Until it does, it shows the key that the cloud knows as well.",
        resolution="Apply again; if it still fails, make the machine anew with `--replace`.",
    )
