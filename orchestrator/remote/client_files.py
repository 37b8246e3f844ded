"""What OpenSSH's client needs to go the same way as we do: pinned host keys, an agent for keys with passphrases."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.errors import RemoteError
from orchestrator.remote.target import SshTarget, known_hosts_lines, openssh_options, openssh_way

_AGENT_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class ClientFiles:
    """Files in a private folder, and the agent, for as long as the block of ``client_files`` lasts.

    Attributes:
        folder: The folder.
        known_hosts: The pinned keys of all machines and of those on the way to them.
        agent: Socket of the agent that holds the keys with a passphrase; ``None`` if there are none.
        targets: The machines, with keys as OpenSSH's client takes them.
    """

    folder: Path
    known_hosts: Path
    agent: Path | None
    targets: Mapping[str, SshTarget]

    def options(self, name: str) -> list[str]:
        """All options for a machine; the first value that is given of an option counts."""
        return [
            *openssh_way(self.targets[name], self.known_hosts, self.agent),
            *openssh_options(self.known_hosts),
        ]


@contextmanager
def client_files(folder: Path, targets: Mapping[str, SshTarget], lifetime: float) -> Iterator[ClientFiles]:
    """Write the files; start an agent if a key has a passphrase.

    A key with a passphrase never is in a file without it. The agent listens on a socket in the private folder, forgets
    the keys after ``lifetime``, and ends with this process, however that ends.

    Args:
        folder: A folder that only this user can look into.
        targets: The machines by name, with host keys; a relative key file is in ``folder``.
        lifetime: Seconds after which the agent forgets the keys, come what may.

    Raises:
        RemoteError: If a key cannot be read, or no agent can be started.
    """
    known_hosts = folder / "known_hosts"
    lines = (line for target in targets.values() for line in known_hosts_lines(target).splitlines(keepends=True))
    known_hosts.write_text("".join(dict.fromkeys(lines)), encoding="utf-8")
    private: dict[tuple[Path, str], tuple[Path, str]] = {}
    ready = {name: _ready(target, folder, private) for name, target in targets.items()}
    if not private:
        yield ClientFiles(folder, known_hosts, None, ready)
        return
    socket = folder / "agent"
    with _agent(socket):
        _fill(socket, [key for _, key in private.values()], lifetime)
        yield ClientFiles(folder, known_hosts, socket, ready)


def host_variables(files: ClientFiles, name: str) -> str:
    """Ansible's variables of a machine, as YAML: how it is reached, and what ``sudo`` asks for there."""
    target = files.targets[name]
    control = ["-o", "ControlMaster=auto", "-o", "ControlPersist=20s", "-o", "BatchMode=yes"]
    # Whatever is in them, none of these is a template.
    lines = ["---", f"ansible_ssh_args: !unsafe {_quoted(shlex.join([*control, *files.options(name)]))}"]
    if target.jump is not None:
        # Two machines behind different hosts may have one address; their connections must not be taken for one.
        number = sorted(files.targets).index(name)
        lines.append(f"ansible_control_path_dir: !unsafe {_quoted(str(files.folder / f'cp{number}'))}")
    if target.become_password:
        lines.append(f"ansible_become_password: !unsafe {_quoted(target.become_password)}")
    return "\n".join(lines) + "\n"


def target_to_dict(target: SshTarget) -> dict[str, Any]:
    """A machine for the pipe to a process of ours; passphrase and password are in it."""
    found = asdict(target)
    found["key_file"] = None if target.key_file is None else str(target.key_file)
    found["jump"] = None if target.jump is None else target_to_dict(target.jump)
    return found


def target_from_dict(value: Mapping[str, Any]) -> SshTarget:
    """The opposite of ``target_to_dict``."""
    key_file, jump = value["key_file"], value["jump"]
    own = {"key_file": None if key_file is None else Path(key_file), "jump": jump and target_from_dict(jump)}
    return SshTarget(**{**value, **own})


def _ready(target: SshTarget, folder: Path, private: dict[tuple[Path, str], tuple[Path, str]]) -> SshTarget:
    """The machine with files of keys that OpenSSH's client can use."""
    if target.jump is not None:
        target = replace(target, jump=_ready(target.jump, folder, private))
    if target.key_file is None:
        return target
    if not target.passphrase:
        return replace(target, key_file=folder / target.key_file)
    name = (target.key_file, target.passphrase)
    if name not in private:
        from orchestrator.remote.keys import load_private  # noqa: PLC0415 - takes long, and few keys need it

        key, public = load_private(*name)
        # The client finds the key in the agent by its public half.
        path = folder / f"key-{len(private)}.pub"
        path.write_text(public + "\n", encoding="utf-8")
        private[name] = path, key
    return replace(target, key_file=private[name][0])


@contextmanager
def _agent(socket: Path) -> Iterator[None]:
    # The agent ends when the command that it was started with does, which ends when this process no longer holds the
    # other end of its input.
    command = ["ssh-agent", "-a", str(socket), "sh", "-c", 'echo "$SSH_AGENT_PID"; exec cat']
    try:
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except OSError as cause:
        raise _no_agent(cause.strerror or str(cause)) from cause
    number = 0
    try:
        number = int((child.stdout.readline() if child.stdout else b"").strip() or b"0")
        if not number:
            raise _no_agent("it ended at once")
        yield
    finally:
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()
        if number:
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGTERM)
        child.wait(_AGENT_TIMEOUT)


def _fill(socket: Path, keys: list[str], lifetime: float) -> None:
    for key in keys:
        done = subprocess.run(
            ["ssh-add", "-q", "-t", str(int(lifetime)), "-"],
            input=key.encode(),
            env={**os.environ, "SSH_AUTH_SOCK": str(socket)},
            capture_output=True,
            timeout=_AGENT_TIMEOUT,
            check=False,
        )
        if done.returncode:
            raise _no_agent(done.stderr.decode(errors="replace").strip() or "it does not take the key")


def _no_agent(reason: str) -> RemoteError:
    return RemoteError(
        "No agent can be had for a key with a passphrase.",
        detail=f"OpenSSH's ssh-agent, which holds the key while a play runs: {reason}.",
        resolution="Install OpenSSH's client (Debian, Ubuntu: openssh-client), or use a key without a passphrase.",
    )


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=True)
