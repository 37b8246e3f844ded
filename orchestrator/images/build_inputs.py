"""What a build may use of this machine: its package sources, its trusted certificates, its proxies.

They are mounted read-only while the steps of a build run and are never part of the image.
"""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from orchestrator.errors import ProviderError

INPUTS_FOLDER = "/run/build-inputs"
"""Where a build finds them. ``/run`` is a file system in memory during a build, so that nothing of it is kept."""

_APT_TIMEOUT = 20
_CA_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
_CA_VARIABLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")
_PIP_OPTIONS = ("index-url", "extra-index-url", "find-links", "trusted-host", "proxy", "timeout", "retries", "no-index")
_PIP_LISTS = ("extra-index-url", "find-links")
_APT_OPTIONS = re.compile(
    r'^(Acquire::(http|https|ftp|Retries|Check-Valid-Until|Check-Date|ForceIPv4|ForceIPv6)\b[^ ]*) "(.*)";$'
)
_APT_VERIFY_FILES = re.compile(r"::(CaInfo|CaPath|SslCert|SslKey|CrlFile)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ReadOnlyMount:
    """A file or folder of this machine that a build may read."""

    source: Path
    target: str


@dataclass(frozen=True, slots=True)
class BuildInputs:
    """What is handed to a build: mounts, and environment variables of its steps."""

    mounts: Sequence[ReadOnlyMount] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def machine_build_inputs(folder: Path) -> Iterator[BuildInputs]:
    """Gather this machine's package configuration, for the duration of a ``with`` block.

    Args:
        folder: Where a temporary folder may be made; must be visible to the container engine.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="build-inputs-", dir=folder) as name:
        root = Path(name)
        # apt reads keyrings as a user of its own; what holds logins has modes of its own.
        root.chmod(0o755)
        environment = proxy_environment()
        bundle = ca_bundle()
        if bundle is not None:
            shutil.copyfile(bundle, root / "ca.pem")
            environment.update(dict.fromkeys(_CA_VARIABLES, f"{INPUTS_FOLDER}/ca.pem"))
        text, local = render_pip_configuration(pip_settings())
        (root / "pip.conf").touch(mode=0o600)
        (root / "pip.conf").write_text(text, encoding="utf-8")
        environment["PIP_CONFIG_FILE"] = f"{INPUTS_FOLDER}/pip.conf"
        write_apt_configuration(root / "apt")
        environment["APT_CONFIG"] = f"{INPUTS_FOLDER}/apt/apt.conf"
        yield BuildInputs((ReadOnlyMount(root, INPUTS_FOLDER), *local), environment)


def ca_bundle() -> Path | None:
    """The bundle of certificate authorities that this machine trusts, its own additions included."""
    candidates = [os.environ.get("SSL_CERT_FILE", ""), *_CA_BUNDLES]
    return next((Path(c) for c in candidates if c and Path(c).is_file()), None)


def proxy_environment() -> dict[str, str]:
    """The proxy variables of this process, in both spellings that programs look for."""
    found = {k.lower(): v for k, v in os.environ.items() if k.lower() in _PROXIES and v}
    return {**found, **{k.upper(): v for k, v in found.items()}}


def pip_settings() -> dict[str, str]:
    """Where this machine's pip takes packages from: its configuration files, then its environment (which wins)."""
    home = Path.home()
    files = [Path("/etc/xdg/pip/pip.conf"), Path("/etc/pip.conf"), home / ".pip/pip.conf"]
    files.append(Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip/pip.conf")
    if named := os.environ.get("PIP_CONFIG_FILE"):
        files.append(Path(named))
    settings: dict[str, str] = {}
    for file in files:
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue
        for section in ("global", "install"):
            if parser.has_section(section):
                settings.update({k: v for k, v in parser.items(section) if k in _PIP_OPTIONS})
    for option in _PIP_OPTIONS:
        if value := os.environ.get("PIP_" + option.upper().replace("-", "_")):
            settings[option] = value
    return settings


def render_pip_configuration(settings: Mapping[str, str]) -> tuple[str, tuple[ReadOnlyMount, ...]]:
    """A pip configuration file for a build, and mounts for the folders of this machine that it names.

    A folder is mounted elsewhere and its address rewritten; one that is not there is left out. An index folder is
    mounted with its parent, since its pages point to files beside it.
    """
    mounts: list[ReadOnlyMount] = []

    def rewritten(word: str) -> str:
        path = _local_path(word)
        if path is None:
            return word
        if not path.exists():
            return ""
        outer = path.parent if path.name == "simple" else path
        target = f"/run/build-folders/{len(mounts)}"
        mounts.append(ReadOnlyMount(outer, target))
        inner = target if outer == path else f"{target}/{path.name}"
        return f"file://{inner}" if word.startswith("file:") else inner

    lines = ["[global]"]
    for option, value in sorted(settings.items()):
        words = value.split() if option in _PIP_LISTS or option == "index-url" else [value]
        words = [w for w in map(rewritten, words) if w] if option in (*_PIP_LISTS, "index-url") else words
        if words:
            lines.append(f"{option} = {' '.join(words)}")
    return "\n".join(lines) + "\n", tuple(mounts)


def write_apt_configuration(folder: Path, suite: str | None = None) -> Path:
    """Write the part of this machine's apt configuration that a Debian build can use.

    Only the distribution's own archive is taken over; lists of third parties, which may not be reachable and whose
    packages a build has no use for, are left out. The files ``apt.conf``, ``sources.list``, ``keyrings/`` and
    ``auth.conf.d/`` refer to each other by the path that they have inside a build.

    Args:
        folder: Made if missing.
        suite: Keep only lines of this suite and its updates; all if not given.

    Returns:
        The sources file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    inside = f"{INPUTS_FOLDER}/{folder.name}"
    sources = _render_for_build(archive_sources(suite), folder / "keyrings", f"{inside}/keyrings")
    (folder / "sources.list").write_text(sources, encoding="utf-8")
    _copy_readable(Path("/etc/apt/auth.conf"), folder / "auth.conf")
    for source in sorted(Path("/etc/apt/auth.conf.d").glob("*.conf")):
        _copy_readable(source, folder / "auth.conf.d" / source.name)
    lines = [
        f'Dir::Etc::sourcelist "{inside}/sources.list";',
        'Dir::Etc::sourceparts "-";',
        f'Dir::Etc::netrc "{inside}/auth.conf";',
        f'Dir::Etc::netrcparts "{inside}/auth.conf.d";',
        f'Acquire::https::CaInfo "{INPUTS_FOLDER}/ca.pem";',
        'APT::Install-Recommends "false";',
        'Acquire::Languages "none";',
        *apt_options(),
    ]
    if not sources.strip():
        lines = [line for line in lines if "sourcelist" not in line and "sourceparts" not in line]
    (folder / "apt.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "sources.list"


def _copy_readable(source: Path, target: Path) -> None:
    """Copy a file of logins, if there is one and this user may read it; apt asks without a login otherwise."""
    if source.is_file() and os.access(source, os.R_OK):
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copy(source, target)


def apt_options() -> list[str]:
    """Proxies, retries and the like out of this machine's apt configuration, as lines of an apt.conf."""
    program = shutil.which("apt-config", path=f"{os.environ.get('PATH', '')}:/usr/bin")
    if program is None:
        return []
    try:
        done = subprocess.run([program, "dump"], capture_output=True, text=True, timeout=_APT_TIMEOUT, check=False)
    except subprocess.TimeoutExpired as cause:
        raise ProviderError(
            "The configuration of apt cannot be read.",
            detail=f"`{program} dump` did not end within {_APT_TIMEOUT} s.",
            resolution="Run it by hand to see what it waits for, then repeat.",
        ) from cause
    matches = (_APT_OPTIONS.match(line) for line in done.stdout.splitlines())
    return [m.group(0) for m in matches if m and m.group(3) and not _APT_VERIFY_FILES.search(m.group(1))]


@dataclass(frozen=True, slots=True)
class ArchiveSource:
    """One source of packages: an address with its suites and components, and the keyring that signs it."""

    uri: str
    suites: Sequence[str]
    components: Sequence[str]
    signed_by: str = ""


def archive_sources(suite: str | None = None, root: Path = Path("/etc/apt")) -> list[ArchiveSource]:
    """The sources in an apt folder that carry the distribution itself (its component ``main``), without duplicates."""
    found: list[ArchiveSource] = []
    files = [root / "sources.list", *sorted((root / "sources.list.d").glob("*"))]
    for file in files:
        if file.suffix not in (".list", ".sources") or not file.is_file():
            continue
        text = file.read_text(encoding="utf-8", errors="replace")
        found += _parse_stanzas(text) if file.suffix == ".sources" else _parse_lines(text)
    kept: list[ArchiveSource] = []
    for source in found:
        suites = [s for s in source.suites if suite is None or s == suite or s.startswith((f"{suite}-", f"{suite}/"))]
        if suites and _is_archive(source) and not any(k.uri == source.uri and k.suites == suites for k in kept):
            kept.append(ArchiveSource(source.uri, suites, source.components, source.signed_by))
    return kept


def render_sources(sources: Sequence[ArchiveSource]) -> str:
    """A sources file in apt's one-line style."""
    lines = []
    for source in sources:
        option = f"[signed-by={source.signed_by}] " if source.signed_by.startswith("/") else ""
        lines += [f"deb {option}{source.uri} {s} {' '.join(source.components)}" for s in source.suites]
    return "\n".join(lines) + "\n"


def _render_for_build(sources: Sequence[ArchiveSource], keyrings: Path, inside: str) -> str:
    """The same for a build: keyrings are copied to ``keyrings``, which the build sees as ``inside``."""
    moved = []
    for source in sources:
        key = Path(source.signed_by)
        if source.signed_by.startswith("/") and key.is_file():
            keyrings.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(key, keyrings / key.name)
            moved.append(replace(source, signed_by=f"{inside}/{key.name}"))
        else:
            moved.append(replace(source, signed_by=""))
    return render_sources(moved)


def _is_archive(source: ArchiveSource) -> bool:
    """Whether it is the distribution's archive or a mirror of it, judged by its layout rather than by its host."""
    path = urlsplit(source.uri).path.rstrip("/")
    last = path.rpartition("/")[2]
    return "main" in source.components and (last.startswith(("debian", "ubuntu")) or "/debian" in path)


def _parse_lines(text: str) -> list[ArchiveSource]:
    found = []
    for line in text.splitlines():
        match = re.match(r"^\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+(.+?)\s*(?:#.*)?$", line)
        if match:
            options = dict(o.split("=", 1) for o in (match.group(1) or "").split() if "=" in o)
            suite, components = match.group(3), match.group(4).split()
            found.append(ArchiveSource(match.group(2), [suite], components, options.get("signed-by", "")))
    return found


def _parse_stanzas(text: str) -> list[ArchiveSource]:
    found = []
    for stanza in re.split(r"\n\s*\n", re.sub(r"(?m)^#.*\n?", "", text)):
        fields: dict[str, str] = {}
        key = ""
        for line in stanza.splitlines():
            if line[:1].isspace() and key:
                fields[key] += "\n" + line.strip()
            elif ":" in line:
                key, _, value = line.partition(":")
                key = key.strip().lower()
                fields[key] = value.strip()
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() == "no":
            continue
        suites, components = fields.get("suites", "").split(), fields.get("components", "").split()
        key = fields.get("signed-by", "")
        found += [ArchiveSource(uri, suites, components, key) for uri in fields.get("uris", "").split()]
    return found


def _local_path(word: str) -> Path | None:
    """The folder or file of this machine that an address or path names, if it does."""
    if word.startswith("file:"):
        return Path(urlsplit(word).path)
    return Path(word) if word.startswith("/") else None
