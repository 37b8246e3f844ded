"""Runs one play in a process of its own: takes a job as JSON on standard input, gives events as JSON lines back."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from orchestrator.errors import RemoteError
from orchestrator.remote.client_files import client_files, host_variables, target_from_dict
from orchestrator.state.masking import mask

DEPLOYMENT_KEY = Path("id_ed25519")
"""The key of the deployment's own machines, in the private folder of a play."""

_TEMPLATE = re.compile(r"\{[{%#]")
_AFTERWARDS = 60.0
"""Seconds that keys with a passphrase are at hand after a play must have ended."""

_MESSAGE_LIMIT = 4000
_NO_FOLDER = ("No space left on device", "Failed to create temporary directory")
_NO_WORD = "its SSH connection broke off, or no new one could be made."
_FORKS = 20
_TELLING = ("debug", "ansible.builtin.debug")
_WORD_OF_A_HOST = {"runner_on_start": "begun", "runner_on_ok": "ended", "runner_on_skipped": "ended"}


def main() -> int:
    """Run the job; exit code 0 if the play succeeded."""
    job = json.load(sys.stdin)
    stopped: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        stopped.append(number)

    # A terminal's Ctrl-C does not come here, because this process leads a session of its own.
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, stop)
    remove_leftovers()
    folder = private_folder()
    try:
        return _run(job, folder, stopped)
    except RemoteError as reason:
        # A key that cannot be read, or no agent to hold it.
        for event in ({"kind": "line", "text": str(reason)}, {"kind": "end", "status": "failed", "code": 1}):
            print(mask(json.dumps(event), tuple(job["secrets"])), flush=True)  # noqa: T201 - the pipe to the parent
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers() -> None:
    """Remove the private folders of processes that were killed before they could do it themselves."""
    for folder in _private_parent().glob("deploy-play-*-*"):
        number = folder.name.split("-")[2]
        # What belongs to another user cannot be removed and is theirs to remove.
        if number.isdigit() and not Path("/proc", number).exists():
            shutil.rmtree(folder, ignore_errors=True)


def private_folder() -> Path:
    """A new folder that only this user can look into; one of a process that was killed is removed by the next play."""
    return Path(tempfile.mkdtemp(prefix=f"deploy-play-{os.getpid()}-", dir=_private_parent()))


def _private_parent() -> Path:
    # Short, because sockets in it have long names; in memory where that can be had, because secrets pass through it.
    memory = Path("/dev/shm")  # noqa: S108
    return memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())


def as_data(value: Any) -> Any:
    """A play's variables, in which a text that looks like a template stays a text: inputs are nobody's program."""
    if isinstance(value, str):
        # Not as a literal: Ansible has ways of its own with the backslashes in one.
        encoded = base64.b64encode(value.encode()).decode()
        return f"{{{{ '{encoded}' | b64decode }}}}" if _TEMPLATE.search(value) else value
    if isinstance(value, list):
        return [as_data(item) for item in value]
    return {key: as_data(item) for key, item in value.items()} if isinstance(value, dict) else value


def _run(job: Mapping[str, Any], folder: Path, stopped: list[int]) -> int:
    import ansible_runner  # noqa: PLC0415 - takes long; the tests of the other functions need not wait for it

    inventory = folder / "inventory.yaml"
    inventory.write_text(job["inventory"], encoding="utf-8")
    if job["private_key"]:
        write_private(folder / DEPLOYMENT_KEY, job["private_key"])
    os.umask(0o077)
    events = EventFilter(Path(job["log_file"]), tuple(job["secrets"]))
    targets = {name: target_from_dict(login) for name, login in job["logins"].items()}
    with client_files(folder, targets, job["timeout"] + _AFTERWARDS) as files:
        (folder / "host_vars").mkdir()
        for name in targets:
            write_private(folder / "host_vars" / f"{name}.yaml", host_variables(files, name))
        runner = ansible_runner.run(
            private_data_dir=str(folder),
            playbook=job["playbook"],
            inventory=str(inventory),
            extravars=as_data(job["variables"]),
            envvars=environment(folder, job["config_file"]),
            event_handler=events.handle,
            cancel_callback=lambda: bool(stopped),
            timeout=job["timeout"],
            quiet=True,
            # How often it looks whether it was told to stop, in seconds.
            settings={"pexpect_timeout": 1},
        )
    events.close(runner.status, runner.rc)
    return 0 if runner.status == "successful" else 1


def write_private(path: Path, content: str) -> None:
    """Write a new file that only this user can read."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(content)


def environment(folder: Path, config_file: str) -> dict[str, str]:
    """Ansible's settings as environment variables; nothing of the user's own configuration counts.

    How a machine is reached is said by variables of its own, see ``remote.client_files``.
    """
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_CONFIG": config_file,
        "ANSIBLE_HOME": str(folder / "home"),
        "ANSIBLE_LOCAL_TEMP": str(folder / "tmp"),
        "ANSIBLE_COLLECTIONS_PATH": str(folder / "collections"),
        "ANSIBLE_COLLECTIONS_SCAN_SYS_PATH": "False",
        "ANSIBLE_FORKS": str(_FORKS),
        "ANSIBLE_GATHERING": "explicit",
        "ANSIBLE_CACHE_PLUGIN": "memory",
        "ANSIBLE_HOST_KEY_CHECKING": "True",
        "ANSIBLE_PIPELINING": "True",
        "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
        "ANSIBLE_RETRY_FILES_ENABLED": "False",
        "ANSIBLE_TIMEOUT": "10",
        "ANSIBLE_SSH_RETRIES": "2",
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(folder / "cp"),
        "ANSIBLE_NOCOLOR": "True",
    }


class EventFilter:
    """Turns ansible-runner's events into the few lines that the parent needs, and keeps a log without secrets.

    Args:
        log_file: Where Ansible's own output goes.
        secrets: Values to mask wherever they turn up.
    """

    def __init__(self, log_file: Path, secrets: tuple[str, ...]) -> None:
        self._secrets = secrets
        log_file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._log = os.fdopen(descriptor, "a", encoding="utf-8")

    def handle(self, event: Mapping[str, Any]) -> bool:
        """Take one event; ``False`` tells ansible-runner not to keep it in a file."""
        text = event.get("stdout") or ""
        if text:
            self._log.write(self._mask(text) + "\n")
            self._log.flush()
        details = event.get("event_data") or {}
        kind = event.get("event", "")
        if kind == "playbook_on_task_start" and not str(details.get("task", "")).startswith("Validating arguments"):
            self._send({"kind": "task", "task": details.get("task", "")})
        elif kind == "runner_on_ok" and details.get("task_action") in _TELLING:
            message = _text((details.get("res") or {}).get("msg"))
            self._send({"kind": "told", "host": details.get("host", ""), "text": message})
        elif kind in _WORD_OF_A_HOST:
            self._send({"kind": _WORD_OF_A_HOST[kind], "host": details.get("host", "")})
        elif kind == "playbook_on_play_start":
            self._send({"kind": "play"})
        elif kind in {"runner_on_failed", "runner_on_unreachable"} and not details.get("ignore_errors"):
            self._send(failure(kind, details))
        elif kind == "playbook_on_stats":
            changed = sum((details.get("changed") or {}).values())
            results = (details.get("artifact_data") or {}).get("attributes") or {}
            self._send({"kind": "stats", "changed": changed, "attributes": results})
        elif kind in {"verbose", "error", "system_warning"} and text:
            self._send({"kind": "line", "text": text})
        return False

    def close(self, status: str, code: int) -> None:
        """Say how it ended."""
        self._send({"kind": "end", "status": status, "code": code})
        self._log.close()

    def _send(self, value: Mapping[str, Any]) -> None:
        # Whoever started this may be gone; the play goes on to its end all the same, holding the lock.
        try:
            with contextlib.suppress(ValueError):
                print(self._mask(json.dumps(value)), flush=True)  # noqa: T201 - the pipe to the parent
        except BrokenPipeError:
            # What could not be written stays in the buffer; Python would fail on it once more when it ends.
            with Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), sys.stdout.fileno())

    def _mask(self, text: str) -> str:
        return mask(text, self._secrets)


def failure(kind: str, details: Mapping[str, Any]) -> dict[str, Any]:
    """What failed, from the data of a failed or unreachable host."""
    result = details.get("res") or {}
    parts = [_text(result.get("msg")), _text(result.get("stderr")), _text(result.get("module_stderr"))]
    if not any(parts):
        parts.append(_text(result.get("stdout")))
    message = "\n".join(dict.fromkeys(part for part in parts if part))
    if not message and kind == "runner_on_unreachable":
        # Of a task whose data are secret Ansible tells nothing more.
        message = _NO_WORD
    # Where no folder can be made for a file, Ansible takes the machine for one that is away.
    answers = any(words in message for words in _NO_FOLDER)
    told = {
        "kind": "unreachable" if kind == "runner_on_unreachable" and not answers else "failed",
        "host": details.get("host", ""),
        "task": details.get("task", ""),
        "message": message[-_MESSAGE_LIMIT:],
    }
    return {**told, "cause": _not_back(result)} if result.get("rebooted") else told


def _not_back(result: Mapping[str, Any]) -> str:
    """What became of a machine whose reboot began and was waited for in vain, as a clause."""
    bound = re.search(r"timeout=(\d+)", _text(result.get("msg")))
    return f"did not come back from its reboot within {bound[1] if bound else result.get('elapsed', '?')} s"


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else json.dumps(value) if value else ""


if __name__ == "__main__":
    sys.exit(main())
