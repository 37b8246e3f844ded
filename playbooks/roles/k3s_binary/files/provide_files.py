"""Has the files of K3s at hand on the controller, verified; downloads them once if nobody brought them.

Takes one JSON argument: ``file`` and ``sha256`` (a binary that somebody has), ``folder`` (an air-gap folder), ``url``
and ``cache`` (where releases are, and where they are kept), ``machines`` (of each: name, architecture as the kernel
has it, checksum of its binary, checksums of its images by name). Prints JSON: ``error`` with full sentences, or
``files``: architecture to ``binary`` and ``images``, each with name, file and sha256. What every machine has already is
neither read nor fetched.
"""

import contextlib
import fcntl
import hashlib
import http.client
import json
import os
import re
import sys
import time
import urllib.error
import urllib.request

ELF_MACHINES = {62: "amd64", 183: "arm64", 40: "arm (32-bit)", 3: "x86 (32-bit)", 243: "riscv64", 22: "s390x"}
TIMEOUT = 30
ATTEMPTS = 3
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
IMAGES = re.compile(r"k3s-airgap-images-(\w+)\.tar(\.\w+)?")


class RefusedError(Exception):
    """A file that must not be used; its text says which and why."""


def binary_name(architecture):
    """What a release calls the binary."""
    return "k3s" if architecture == "amd64" else "k3s-" + architecture


def list_name(architecture):
    """What a release calls its list of checksums."""
    return f"sha256sum-{architecture}.txt"


def checksum(path):
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def parse_list(text):
    """File name to checksum, of lines as sha256sum writes them."""
    rows = (re.fullmatch(r"([0-9a-fA-F]{64})\s+\*?(?:\./)?(\S+)", line.strip()) for line in text.splitlines())
    return {row.group(2): row.group(1).lower() for row in rows if row}


def read_architecture(path):
    """What a program is built for by its ELF header; ``any`` for a script."""
    with open(path, "rb") as stream:
        head = stream.read(20)
    if head[:2] == b"#!":
        return "any"
    if head[:4] != b"\x7fELF" or len(head) < 20:
        raise RefusedError(
            f"{path} is no program: it has no ELF header. Perhaps a download went wrong; fetch it again."
        )
    number = int.from_bytes(head[18:20], "little" if head[5] == 1 else "big")
    return ELF_MACHINES.get(number, f"ELF machine {number}") if head[4] == 2 or number in (40, 3) else "a 32-bit system"


class Machines:
    """The machines of one architecture, and what they have."""

    def __init__(self, architecture):
        self.architecture = architecture
        self.names = []
        self.present = []

    def lack(self, sha256):
        """Whether one of them has no file with that checksum."""
        return any(sha256 not in present for present in self.present)

    def check(self, path):
        """Refuse a binary that cannot run on them."""
        found = read_architecture(path)
        if found not in ("any", self.architecture):
            raise RefusedError(
                f"{path} is built for {found}, but it is to run on {', '.join(self.names)}, which can only run "
                f"programs for {self.architecture}. Give the binary for {self.architecture}."
            )


def sort_machines(rows):
    """Architecture to its machines."""
    found = {}
    for name, kernel, binary, images in rows:
        architecture = ARCHITECTURES[kernel]
        machines = found.setdefault(architecture, Machines(architecture))
        machines.names.append(name)
        machines.present.append({binary, *images.values()})
    return found


def check_checksum(path, expected, source):
    """Refuse a file that is not what it should be."""
    found = checksum(path)
    if found != expected:
        raise RefusedError(
            f"{path} has the checksum {found}, not {expected}, which {source} has for it: it is damaged, of another "
            "release, or was changed. Nothing was copied. Fetch it again."
        )


def entry(name, path, sha256):
    """A file as the role takes it."""
    return {"name": name, "file": path, "sha256": sha256}


def provide_one(order, machines):
    """A binary that somebody has; its checksum is its own unless one was given."""
    path, given = order["file"], order["sha256"].lower()
    if not os.path.isfile(path):
        raise RefusedError(f"The K3s binary {path} is not there. Correct k3s_binary_file.")
    found = checksum(path)
    if given and found != given:
        raise RefusedError(
            f"{path} has the checksum {found}, not {given}, which k3s_binary_sha256 says. Nothing was copied. Fetch "
            "the file again, or correct the checksum."
        )
    for group in machines.values():
        if group.lack(found):
            group.check(path)
    return {architecture: {"binary": entry("k3s", path, found), "images": []} for architecture in machines}


def provide_from_folder(order, machines):
    """The files of an air-gap folder, as a release names them; every one must be in the release's list of checksums."""
    folder, files = order["folder"], {}
    if not os.path.isdir(folder):
        raise RefusedError(f"The air-gap folder {folder} is not there. Correct k3s_airgap_folder.")
    for architecture, group in machines.items():
        listed = read_list(folder, architecture)
        found = {}
        for name in find_names(folder, architecture):
            path = os.path.join(folder, name)
            if name not in listed:
                raise RefusedError(
                    f"{os.path.join(folder, list_name(architecture))} has no checksum for {name}. Put the list of the "
                    "same release there: nothing is installed without its checksum."
                )
            if group.lack(listed[name]):
                check_checksum(path, listed[name], list_name(architecture))
            found[name] = entry(name, path, listed[name])
        binary = found.pop(binary_name(architecture))
        if group.lack(binary["sha256"]):
            group.check(binary["file"])
        files[architecture] = {"binary": binary, "images": list(found.values())}
    return files


def read_list(folder, architecture):
    """The list of checksums of an air-gap folder."""
    path = os.path.join(folder, list_name(architecture))
    if not os.path.isfile(path):
        raise RefusedError(
            f"The air-gap folder {folder} has no {list_name(architecture)}. Put the file of the same release there: "
            "nothing is installed without its checksum."
        )
    with open(path, encoding="utf-8", errors="replace") as stream:
        return parse_list(stream.read())


def find_names(folder, architecture):
    """Binary and images of an air-gap folder; both must be there."""
    matches = [IMAGES.fullmatch(name) for name in sorted(os.listdir(folder))]
    images = [match.group(0) for match in matches if match and match.group(1) == architecture]
    if not os.path.isfile(os.path.join(folder, binary_name(architecture))):
        raise RefusedError(
            f"The air-gap folder {folder} has no {binary_name(architecture)}. Put the release's file there."
        )
    if not images:
        raise RefusedError(
            f"The air-gap folder {folder} has no k3s-airgap-images-{architecture}.tar (or .tar.zst, .tar.gz). Put it "
            "there: without it the machines would have to pull K3s's own images."
        )
    return [binary_name(architecture), *images]


def provide_from_release(order, machines):
    """A release, fetched once by this computer and kept; only its list is needed if every machine has the binary."""
    url, given = order["url"].rstrip("/"), order["sha256"].lower()
    if not url.startswith(("https://", "http://")):
        raise RefusedError(f"{url} is no address of the web. Correct k3s_binary_url.")
    if not url.startswith("https://") and not given:
        raise RefusedError(
            f"{url} is not https, so that its list of checksums cannot be trusted. Use https, or give "
            "k3s_binary_sha256."
        )
    if given and len(machines) > 1:
        raise RefusedError(
            f"k3s_binary_sha256 is one checksum, but the machines have several architectures ({', '.join(machines)}). "
            "Leave it away, or use an air-gap folder."
        )
    cache = os.path.join(order["cache"], re.sub(r"[^A-Za-z0-9.+-]+", "_", url.partition("://")[2]))
    os.makedirs(cache, exist_ok=True)
    files = {}
    with open(os.path.join(cache, ".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # clusters of one deployment are made at the same time
        for architecture, group in machines.items():
            name = binary_name(architecture)
            path, expected = os.path.join(cache, name), given or fetch_checksum(url, cache, architecture)
            if group.lack(expected):
                if not os.path.isfile(path) or checksum(path) != expected:
                    fetch_binary(f"{url}/{name}", path, expected, os.path.join(cache, list_name(architecture)))
                group.check(path)
            files[architecture] = {"binary": entry(name, path, expected), "images": []}
    return files


def fetch_binary(url, path, expected, listed):
    """Download a binary; if it does not match, the list may be what is wrong: the next run fetches that anew too."""
    try:
        fetch(url, path, expected)
    except RefusedError:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(listed)
        raise


def fetch_checksum(url, cache, architecture):
    """What the release's list, fetched once, has for its binary."""
    path = os.path.join(cache, list_name(architecture))
    if not os.path.isfile(path):
        fetch(f"{url}/{list_name(architecture)}", path, "")
    expected = read_list(cache, architecture).get(binary_name(architecture), "")
    if not expected:
        os.unlink(path)
        raise RefusedError(
            f"{url}/{list_name(architecture)} has no checksum for {binary_name(architecture)}. Correct k3s_version or "
            "k3s_binary_url."
        )
    return expected


def download(url, path):
    """Write what an address gives into a file; whether it came whole."""
    with urllib.request.urlopen(url, timeout=TIMEOUT) as answer, open(path, "wb") as stream:  # noqa: S310 - http(s)
        for block in iter(lambda: answer.read(1 << 20), b""):
            stream.write(block)
        announced = answer.headers.get("Content-Length")
    return not announced or os.path.getsize(path) == int(announced)


def fetch(url, path, expected):
    """Download a file; it gets its name only when it is whole and has the checksum."""
    partial, reason = path + ".part", ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(2**attempt)
        try:
            if download(url, partial):
                break
            reason = "it broke off"
        except urllib.error.HTTPError as error:
            reason = f"HTTP {error.code} {error.reason}"
            if error.code < 500 and error.code != 429:
                raise RefusedError(
                    f"{url} cannot be downloaded: {reason}. Correct k3s_version or k3s_binary_url."
                ) from error
        except (OSError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", error))
    else:
        raise RefusedError(
            f"{url} cannot be downloaded: {reason}. See to the connection of this computer, which fetches it for all "
            "machines, or give a file (k3s_binary_file) or a folder (k3s_airgap_folder)."
        )
    if expected:
        try:
            check_checksum(partial, expected, "the release")
        except RefusedError:
            os.unlink(partial)
            raise
    os.replace(partial, path)


def main():
    """Print what was found."""
    order = json.loads(sys.argv[1])
    try:
        provide = provide_from_folder if order["folder"] else provide_one if order["file"] else provide_from_release
        answer = {"files": provide(order, sort_machines(order["machines"]))}
    except RefusedError as refusal:
        answer = {"error": str(refusal)}
    except OSError as error:
        answer = {"error": f"The files of K3s cannot be had: {error}."}
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(answer))


main()
