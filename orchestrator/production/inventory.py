"""An Ansible inventory as text, INI or YAML: its groups, their hosts and variables, each with its place."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.diagnostics import Diagnostic, Location, error
from orchestrator.topology.located import Mapping, Scalar, load_document
from orchestrator.topology.reading import Findings, kind_of

ALL, UNGROUPED = "all", "ungrouped"
_MOST_HOSTS = 10_000
_VAULT_FILE = "$ANSIBLE_VAULT;"
_VAULT_TAG = "!vault"
_RANGE = re.compile(r"\[(?P<first>[0-9]+|[a-z]|[A-Z]):(?P<last>[0-9]+|[a-z]|[A-Z])(?::(?P<step>[0-9]+))?\]")
_SECTION = re.compile(r"\[(?P<group>[^\]:]+)(?::(?P<kind>[a-z]+))?\]\s*(?:[#;].*)?")


@dataclass(frozen=True, slots=True)
class Variable:
    """The value of a variable as text, and where it stands."""

    text: str = field(repr=False)
    place: Location


Variables = dict[str, Variable]


@dataclass(slots=True)
class Group:
    """A group: its hosts in order, its variables, the groups inside it; ``place`` is where it is first named."""

    place: Location
    hosts: dict[str, Location] = field(default_factory=dict)
    variables: Variables = field(default_factory=dict)
    children: dict[str, None] = field(default_factory=dict)


@dataclass(slots=True)
class Inventory:
    """Groups by name, and variables of hosts by host."""

    groups: dict[str, Group] = field(default_factory=dict)
    host_variables: dict[str, Variables] = field(default_factory=dict)

    def group(self, name: str, place: Location) -> Group:
        """The group of that name, made if it is new."""
        return self.groups.setdefault(name, Group(place))

    def hosts_of(self, name: str) -> dict[str, Location]:
        """Every host of a group and of the groups inside it, each once, in order."""
        found: dict[str, Location] = {}
        seen: set[str] = set()
        waiting = [name]
        while waiting:
            group = self.groups.get(waiting.pop(0))
            if group is None:
                continue
            for host, place in group.hosts.items():
                found.setdefault(host, place)
            waiting += [child for child in group.children if child not in seen]
            seen.update(group.children)
        return found

    def variables_of(self, host: str) -> Variables:
        """Variables of a host: those of all, of its groups from the outermost to the innermost, its own."""
        depths = {name: self._depth(name) for name in self.groups if name == ALL or host in self.hosts_of(name)}
        merged: Variables = {}
        for name in sorted(depths, key=lambda name: (depths[name], name)):
            merged.update(self.groups[name].variables)
        return {**merged, **self.host_variables.get(host, {})}

    def _depth(self, name: str) -> int:
        """How many groups a group is inside of, by the longest way."""
        depth, level = 0, {name}
        while level and depth <= len(self.groups):
            level = {outer for outer, group in self.groups.items() if level & group.children.keys()}
            depth += bool(level)
        return 0 if name == ALL else depth + 1


def load_inventory(path: Path, findings: Findings) -> Inventory | None:
    """Read an inventory, and the files of ``group_vars`` and ``host_vars`` beside it. No line of it is ever shown.

    Returns:
        ``None`` if it cannot be read, which was reported then.
    """
    try:
        beginning = path.read_bytes()[: len(_VAULT_FILE)] if path.is_file() else b""
    except OSError:
        beginning = b""
    start = Location(str(path), 1, 1)
    if beginning == _VAULT_FILE.encode():
        findings.error("A vault is not read.", _vault(path.name), start)
        return None
    made = Inventory()
    if path.suffix in (".yml", ".yaml", ".json"):
        root = _load_yaml(path, findings)
        if root is None:
            return None
        _take_groups(root, made, findings)
    else:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as problem:
            findings.error("The file cannot be read.", f"{path}: {type(problem).__name__}.", start)
            return None
        _IniReader(path, made, findings).read(text)
    _take_beside(path, made, findings)
    return made


def _vault(what: str) -> str:
    return (
        f"{what} is encrypted for ansible-vault, whose password is not asked for here. Keep the value as a secret of "
        "the deployment, in a variable or in a file, and write its reference instead: secret:NAME, env:NAME, file:PATH."
    )


def _load_yaml(path: Path, findings: Findings) -> Mapping | None:
    document = load_document(path, secret=True)
    findings.extend(_explained(found) for found in document.diagnostics)
    if document.root is None:
        return None
    if not isinstance(document.root, Mapping):
        detail = f"{path.name} must be a mapping; it is {kind_of(document.root)}."
        findings.error("A value has the wrong type.", detail, document.root.location)
        return None
    return document.root


def _explained(found: Diagnostic) -> Diagnostic:
    if _VAULT_TAG in found.detail:
        return error("A vault is not read.", _vault("This value"), location=found.location)
    return found


def _take_groups(root: Mapping, made: Inventory, findings: Findings) -> None:
    waiting: list[tuple[str, Mapping | None, Location]] = [
        (name, _mapping(node, name, findings), root.keys[name].location) for name, node in root.entries.items()
    ]
    while waiting:
        name, node, place = waiting.pop(0)
        group = made.group(name, place)
        if node is None:
            continue
        for key, inner in node.entries.items():
            if key not in ("hosts", "vars", "children"):
                detail = f"Group {name!r} has no {key!r}; there is: hosts, vars, children. It is left out."
                findings.warning("A key is not known.", detail, node.keys[key].location)
                continue
            entries = _mapping(inner, f"{name}.{key}", findings)
            if entries is None:
                continue
            if key == "vars":
                group.variables.update(_variables(entries))
            elif key == "hosts":
                _take_hosts(entries, group, made, findings)
            else:
                for child, below in entries.entries.items():
                    group.children[child] = None
                    waiting.append((child, _mapping(below, child, findings), entries.keys[child].location))


def _take_hosts(entries: Mapping, group: Group, made: Inventory, findings: Findings) -> None:
    for pattern, node in entries.entries.items():
        place = entries.keys[pattern].location
        said = _mapping(node, pattern, findings)
        for host in _expand(pattern, place, findings):
            group.hosts.setdefault(host, place)
            made.host_variables.setdefault(host, {}).update(_variables(said) if said else {})


def _mapping(node: object, name: str, findings: Findings) -> Mapping | None:
    if isinstance(node, Mapping):
        return node
    if isinstance(node, Scalar) and (node.is_null or not node.text):
        return None
    place = getattr(node, "location", None)
    findings.error("A value has the wrong type.", f"What stands under {name!r} must be a mapping.", place)
    return None


def _variables(entries: Mapping) -> Variables:
    """The variables that are simple values; others are of no use here."""
    return {
        key: Variable("" if node.is_null else node.text, node.location)
        for key, node in entries.entries.items()
        if isinstance(node, Scalar)
    }


def _expand(pattern: str, place: Location, findings: Findings) -> list[str]:
    """Names that a pattern such as ``pi[01:12]`` stands for."""
    names = [pattern]
    while (found := _RANGE.search(names[0])) is not None:
        parts = [*_range(found)]
        if not parts or len(names) * len(parts) > _MOST_HOSTS:
            detail = f"{pattern!r} stands for no host, or for more than {_MOST_HOSTS}."
            findings.error("A range is not understood.", detail, place)
            return []
        names = [_RANGE.sub(part, name, count=1) for name in names for part in parts]
    return names


def _range(found: re.Match[str]) -> Iterator[str]:
    first, last, step = found["first"], found["last"], int(found["step"] or 1)
    if step and first.isdecimal() and last.isdecimal():
        width = len(first) if first.startswith("0") else 0
        if int(last) - int(first) <= _MOST_HOSTS:
            yield from (str(number).zfill(width) for number in range(int(first), int(last) + 1, step))
    elif step and not first.isdecimal() and not last.isdecimal():
        yield from (chr(code) for code in range(ord(first), ord(last) + 1, step))


class _IniReader:
    """Reads the INI form line by line."""

    def __init__(self, path: Path, made: Inventory, findings: Findings) -> None:
        self._file = str(path)
        self._made = made
        self._findings = findings
        self._kind = "hosts"
        self._group = UNGROUPED

    def read(self, text: str) -> None:
        """Take every line."""
        for number, line in enumerate(text.splitlines(), start=1):
            words = line.strip()
            if not words or words.startswith(("#", ";")):
                continue
            place = Location(self._file, number, len(line) - len(line.lstrip()) + 1)
            section = _SECTION.fullmatch(words)
            if section:
                self._begin(section, place)
            elif self._kind == "vars":
                self._take_variable(words, place)
            elif self._kind == "children":
                child = words.split("#")[0].strip()
                self._made.group(child, place)
                self._made.group(self._group, place).children[child] = None
            else:
                self._take_host(words, place)

    def _begin(self, section: re.Match[str], place: Location) -> None:
        self._group, self._kind = section["group"].strip(), section["kind"] or "hosts"
        if self._kind not in ("hosts", "vars", "children"):
            detail = f"A section is [group], [group:vars] or [group:children]; this one is of kind {self._kind!r}."
            self._findings.error("A section is not understood.", detail, place)
        self._made.group(self._group, place)

    def _take_variable(self, words: str, place: Location) -> None:
        name, sign, value = words.partition("=")
        if not sign:
            self._refuse("A variable of a group is written as name=value.", place)
            return
        self._made.group(self._group, place).variables[name.strip()] = Variable(_ini_value(value), place)

    def _take_host(self, words: str, place: Location) -> None:
        try:
            pattern, *pairs = shlex.split(words, comments=True)
        except ValueError:
            self._refuse("A quote is not closed.", place)
            return
        variables: Variables = {}
        for pair in pairs:
            name, sign, value = pair.partition("=")
            if not sign:
                self._refuse("Variables of a host are written behind its name, as name=value.", place)
                return
            variables[name] = Variable(value, place)
        name, colon, port = pattern.rpartition(":")
        if colon and port.isdecimal() and ":" not in name and "[" not in port:
            pattern = name
            variables.setdefault("ansible_port", Variable(port, place))
        group = self._made.group(self._group, place)
        for host in _expand(pattern, place, self._findings):
            group.hosts.setdefault(host, place)
            self._made.host_variables.setdefault(host, {}).update(variables)

    def _refuse(self, detail: str, place: Location) -> None:
        self._findings.error("A line of the inventory is not understood.", detail, place)


def _ini_value(text: str) -> str:
    """A value as Ansible takes it: quotes do not belong to it."""
    text = text.strip()
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return value if isinstance(value, str) else text


def _take_beside(path: Path, made: Inventory, findings: Findings) -> None:
    """Variables from the files that Ansible finds beside an inventory."""
    for folder, names in (("group_vars", tuple(made.groups)), ("host_vars", tuple(made.host_variables))):
        if not (path.parent / folder).is_dir():
            continue
        for name in {*names, ALL} if folder == "group_vars" else names:
            file = _vars_file(path.parent / folder, name)
            if file is None:
                continue
            if file.read_bytes().startswith(_VAULT_FILE.encode()):
                findings.warning("A vault is not read.", _vault(f"{folder}/{file.name}"), Location(str(file), 1, 1))
                continue
            root = _load_yaml(file, findings)
            if root is None:
                continue
            if folder == "host_vars":
                made.host_variables[name].update(_variables(root))
            else:
                made.group(name, root.location).variables.update(_variables(root))


def _vars_file(folder: Path, name: str) -> Path | None:
    if "/" in name or name.startswith("."):
        return None
    return next((f for ending in ("", ".yml", ".yaml", ".json") if (f := folder / (name + ending)).is_file()), None)
