"""Runs on a machine: claims it, looks at its claim, releases it; needs root, unless it looks, and nothing installed.

What is asked is JSON text in the global REQUEST; the answer is one line of JSON on standard output. The file is sent
over SSH as it is, to Python 3.7 or later.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import stat
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, Optional  # noqa: UP035 - the machine's Python may be old

Values = Dict[str, Any]  # noqa: UP006 - the same

FOLDER = Path("/var/lib/continuum-deploy")
CLAIM = FOLDER / "claim.json"
PARTS = ("deployment", "lineage", "address", "token")


def main(request: Values) -> Values:
    """Do what is asked; the answer says what was found."""
    if os.geteuid() != 0 and request["operation"] != "look":
        return {"error": f"this needs the rights of root, and it runs as user {os.geteuid()}"}
    return {"look": look, "claim": claim, "release": release}[request["operation"]](request)


def look(_request: Values) -> Values:
    """The claim, if there is one; ``None`` in its parts if it cannot be understood."""
    found = read_claim()
    return {"claim": found if found is None else {part: found.get(part) for part in PARTS}}


def claim(request: Values) -> Values:
    """Note whose the machine is, unless it is somebody's already, and let the key in."""
    found = read_claim()
    if found is None:
        found = {part: request[part] for part in PARTS}
        found["made_folder"] = not FOLDER.is_dir()
        found["login"] = plan_login(request)
        found["not_there"] = [str(folder) for folder in ansible_folders(request) if not folder.is_dir()]
        FOLDER.mkdir(mode=0o755, parents=True, exist_ok=True)
        if not write_new(CLAIM, json.dumps(found, indent=1) + "\n"):
            found = read_claim() or {}
    answer: Values = {"claim": {part: found.get(part) for part in PARTS}}
    if "login" in found and all(found.get(part) == request[part] for part in PARTS):
        let_in(found["login"])
        answer["claimed"] = True
    return answer


def release(request: Values) -> Values:
    """Take the key and the claim away, if they are this deployment's; what is not there is no error."""
    found = read_claim()
    if found is None or any(found.get(part) != request[part] for part in ("lineage", "token")):
        return {"released": False}
    if "login" in found:
        keep_out(found["login"])
    for folder in found.get("not_there", ()):
        remove_if_empty(Path(folder))
    CLAIM.unlink()
    if found.get("made_folder"):
        remove_if_empty(FOLDER)
    return {"released": True}


def read_claim() -> Optional[Values]:  # noqa: UP045 - the same
    """The claim as written; ``{}`` if it is none that this version understands."""
    try:
        found = json.loads(CLAIM.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except PermissionError:
        raise  # somebody has closed the folder, and root can look
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def plan_login(request: Values) -> Values:
    """What letting the key in changes, so that exactly that can be taken back."""
    user = pwd.getpwnam(request["user"])
    folder = Path(user.pw_dir, ".ssh")
    path = Path(os.path.realpath(str(folder / "authorized_keys")))
    text = read_text(path)
    return {
        "path": str(path),
        "line": request["key"],
        "made_folder": "" if folder.is_dir() else str(folder),
        "made_file": text is None,
        "added_newline": bool(text) and not str(text).endswith("\n"),
        "owner": [user.pw_uid, user.pw_gid],
    }


def ansible_folders(request: Values) -> list[Path]:
    """Folders that Ansible leaves in the homes of those as whom it works, the inner ones first."""
    homes = (pwd.getpwnam(request["user"]).pw_dir, pwd.getpwuid(0).pw_dir)
    return [folder for home in homes for folder in (Path(home, ".ansible", "tmp"), Path(home, ".ansible"))]


def let_in(login: Values) -> None:
    """Add the line, unless it is there."""
    path, folder = Path(login["path"]), login["made_folder"]
    text = read_text(path) or ""
    if login["line"] in text.splitlines():
        return
    if folder and not Path(folder).is_dir():
        Path(folder).mkdir(0o700)
        os.chown(folder, *login["owner"])
    if text and not text.endswith("\n"):
        text += "\n"
    write_over(path, text + login["line"] + "\n", login["owner"])


def keep_out(login: Values) -> None:
    """Take the line out; all else of the file stays as it is."""
    path = Path(login["path"])
    text = read_text(path)
    if text is None:
        return
    lines = text.splitlines(keepends=True)
    kept = "".join(line for line in lines if line.rstrip("\r\n") != login["line"])
    was_last = bool(lines) and lines[-1].rstrip("\r\n") == login["line"]
    if login["added_newline"] and was_last and kept.endswith("\n"):
        kept = kept[:-1]
    if not kept and login["made_file"]:
        path.unlink()
        if login["made_folder"]:
            remove_if_empty(Path(login["made_folder"]))
    elif kept != text:
        write_over(path, kept, login["owner"])


def remove_if_empty(folder: Path) -> None:
    """Remove a folder that we made, unless others have put something there."""
    with contextlib.suppress(OSError):
        folder.rmdir()


def read_text(path: Path) -> Optional[str]:  # noqa: UP045 - the same
    """What a file holds, byte for byte; ``None`` if it is not there."""
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            return file.read()
    except FileNotFoundError:
        return None


def write_new(path: Path, text: str) -> bool:
    """Write a file as a whole, unless it is there; whether it was written."""
    temporary = write_beside(path, text)
    try:
        os.link(str(temporary), str(path))
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    sync(path.parent)
    return True


def write_over(path: Path, text: str, owner: list[int]) -> None:
    """Write a file as a whole; it keeps its owner and its mode."""
    temporary = write_beside(path, text)
    mode = 0o600
    with contextlib.suppress(FileNotFoundError):
        before = path.stat()
        mode, owner = stat.S_IMODE(before.st_mode), [before.st_uid, before.st_gid]
    os.chown(str(temporary), *owner)
    temporary.chmod(mode)
    temporary.replace(path)
    sync(path.parent)


def write_beside(path: Path, text: str) -> Path:
    """A new file in the folder of another, which is on the disk when this returns."""
    descriptor, name = tempfile.mkstemp(prefix=".continuum-", dir=str(path.parent))
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        file.write(text)
        file.flush()
        os.fchmod(descriptor, 0o644)
        os.fsync(descriptor)
    return Path(name)


def sync(folder: Path) -> None:
    """Let the names in a folder survive a loss of power."""
    descriptor = os.open(str(folder), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def answer_of(request: str) -> str:
    """The answer as JSON text, also where something went wrong."""
    try:
        return json.dumps(main(json.loads(request)))
    except PermissionError as cause:
        return json.dumps({"error": str(cause), "needs_root": True})
    except (OSError, KeyError) as cause:
        return json.dumps({"error": f"{type(cause).__name__}: {cause}"})


if __name__ == "__main__":
    sys.stdout.write(answer_of(globals()["REQUEST"]) + "\n")
