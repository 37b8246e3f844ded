"""Reads YAML text into a tree whose every value knows its line and column; whatever is wrong becomes a diagnostic."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from orchestrator.diagnostics import Diagnostic, Location, error, warning
from orchestrator.topology.model import Value

MAX_BYTES = 10 * 1024 * 1024
"""Larger files are refused unread."""

MAX_DEPTH = 100
"""Deeper nesting is refused."""

MAX_VALUES = 500_000
"""More values than this, with every alias written out, are refused."""

_MAX_SHOWN = 400
_MAX_BITS = 4096
"""A larger whole number is no number here: Python refuses to write one of more than 4300 digits."""

_LINE_ENDS = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_UNPRINTABLE = re.compile(
    "[^\x09\x0a\x0d\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]",
)
_LONE_DASH = re.compile(r"^(?P<before>[ ]*[A-Za-z_][\w.-]*[ ]*:[ ]+)-(?=[ ]*(?:#.*)?$)")
_SECRET = re.compile(
    r"""(?P<key>(?:password|passwd|secret|token|access_key|private_key)\w{0,40}"""
    r"""(?:["'][ \t]*:[ \t]*|[ \t]*:[ \t]+|[ \t]*=[ \t]*))"""
    r"""(?!["']?secret:)(?:"[^"\n]*"?|'[^'\n]*'?|[^\s,{}\[\]#][^,{}\[\]#\r\n]*)""",
    re.IGNORECASE,
)
_STANDARD_TAG = "tag:yaml.org,2002:"
_KNOWN_TAGS = frozenset({"str", "int", "float", "bool", "null", "timestamp", "seq", "map"})
_EVENTS: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_RESOLVERS = yaml.SafeLoader.yaml_implicit_resolvers
_CONSTRUCTOR = yaml.constructor.SafeConstructor()


def without_secrets(text: str) -> str:
    """A text as its lines may be shown: values of keys that are called like secrets are left out."""
    return _SECRET.sub(lambda found: found["key"] + "*" * 8, text)


@dataclass(frozen=True, slots=True)
class Source:
    """A text with a name: ``file`` as the person gave it, ``lines`` without their ends and as they may be shown.

    There are no lines of a file that holds secrets.
    """

    file: str
    lines: tuple[str, ...]

    def at(self, line: int, column: int) -> Location:
        """The place at ``line`` and ``column``, both counted from 0."""
        text = self.lines[line] if line < len(self.lines) else ""
        return Location(self.file, line + 1, column + 1, text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…")


@dataclass(slots=True, eq=False)
class _Placed:
    source: Source
    line: int
    column: int

    @property
    def location(self) -> Location:
        """Where the value begins."""
        return self.source.at(self.line, self.column)


@dataclass(slots=True, eq=False)
class Scalar(_Placed):
    """One value: ``text`` as written; ``plain`` if it was without quotes or tag, so that it may be a number."""

    text: str
    plain: bool
    tag: str = ""

    @property
    def value(self) -> bool | int | float | str | None:
        """What YAML 1.1 takes the text for; a date stays text."""
        return _typed(self.text, self.tag or (implicit_tag(self.text) if self.plain else "str"))

    @property
    def is_null(self) -> bool:
        """Whether it is empty, ``~`` or ``null``."""
        return self.plain and implicit_tag(self.text) == "null"


@dataclass(slots=True, eq=False)
class Sequence(_Placed):
    """A list."""

    items: list[Node] = field(default_factory=list)
    weight: int = 1
    height: int = 1


@dataclass(slots=True, eq=False)
class Mapping(_Placed):
    """Keys, as text, to values; ``keys`` has the place of each key."""

    entries: dict[str, Node] = field(default_factory=dict)
    keys: dict[str, Scalar] = field(default_factory=dict)
    merged: list[Node] = field(default_factory=list)
    weight: int = 1
    height: int = 1


Node: TypeAlias = Scalar | Sequence | Mapping


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file; ``root`` is ``None`` if it could not be read, and ``diagnostics`` then says why."""

    file: str
    text: str
    root: Node | None
    diagnostics: tuple[Diagnostic, ...] = ()


class _StopError(Exception):
    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.summary)
        self.diagnostic = diagnostic


def implicit_tag(text: str) -> str:
    """What an unquoted text is in YAML 1.1: ``null``, ``bool``, ``int``, ``float``, ``timestamp``, … or ``str``."""
    for tag, pattern in _RESOLVERS.get(text[:1], ()):
        if pattern.match(text):
            return str(tag).removeprefix(_STANDARD_TAG)
    return "str"


def _typed(text: str, tag: str) -> bool | int | float | str | None:
    if tag not in ("null", "bool", "int", "float"):
        return text
    try:
        value = _CONSTRUCTOR.construct_object(yaml.ScalarNode(_STANDARD_TAG + tag, text))
    except (ValueError, KeyError, OverflowError):
        return text
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        return text
    return value if value is None or isinstance(value, (bool, int, float)) else text


def plain_value(node: Node) -> Value:
    """The value without its places."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Sequence):
        return [plain_value(item) for item in node.items]
    return {key: plain_value(item) for key, item in node.entries.items()}


def load_document(path: Path, shown: str = "", secret: bool = False) -> Document:
    """Read and parse a YAML file.

    Args:
        path: The file.
        shown: Its name in messages; the path itself if not given.
        secret: Whether the file holds secrets, so that none of its lines may be shown.
    """
    name = shown or str(path)
    try:
        if not path.is_file():
            kind = "It is a folder" if path.is_dir() else "It is no ordinary file" if path.exists() else ""
            summary = "The file cannot be read." if kind else "The file does not exist."
            return _refused(name, summary, f"{kind or 'There is no file'} at {name}.")
        size = path.stat().st_size
        if size > MAX_BYTES:
            return _refused(name, "The file is too large.", f"It has {size} bytes; at most {MAX_BYTES} are read.")
        content = path.read_bytes()
    except (OSError, ValueError) as problem:
        return _refused(name, "The file cannot be read.", f"{problem}.")
    return parse_bytes(content, name, secret)


def parse_bytes(content: bytes, file: str, secret: bool = False) -> Document:
    """Parse the bytes of a YAML file, which must be UTF-8."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        before = content[: problem.start].decode("utf-8", "replace")
        source = _source(content.decode("utf-8", "replace"), file, secret)
        lines = _LINE_ENDS.split(before)
        detail = f"Byte {problem.start} ({content[problem.start]:#04x}) is no UTF-8. Save the file as UTF-8."
        finding = error("The file is not UTF-8.", detail, location=source.at(len(lines) - 1, len(lines[-1])))
        return Document(file, "", None, (finding,))
    return parse_document(text, file, secret)


def _source(text: str, file: str, secret: bool) -> Source:
    return Source(file, () if secret else tuple(_LINE_ENDS.split(without_secrets(text))))


def parse_document(text: str, file: str, secret: bool = False) -> Document:
    """Parse YAML text; never raises for what the text holds."""
    source = _source(text, file, secret)
    bad = _UNPRINTABLE.search(text)
    if bad:
        lines = _LINE_ENDS.split(text[: bad.start()])
        finding = error(
            "The file holds a character that YAML does not allow.",
            f"Character U+{ord(bad.group()):04X} cannot be part of a YAML file. Remove it.",
            location=source.at(len(lines) - 1, len(lines[-1])),
        )
        return Document(file, text, None, (finding,))
    document = _compose(text, source)
    if document.root is None:
        mended, warnings = _without_lone_dashes(text, source)
        if warnings:
            second = _compose(mended, source)
            return Document(file, text, second.root, (*warnings, *second.diagnostics))
    return document


def _compose(text: str, source: Source) -> Document:
    composer = _Composer(source)
    try:
        root = composer.compose(text)
    except _StopError as stop:
        return Document(source.file, text, None, (*composer.findings, stop.diagnostic))
    if root is None or (isinstance(root, Scalar) and root.is_null):
        detail = f"There is nothing in {source.file} but blanks or comments."
        finding = error("The file is empty.", detail, location=source.at(0, 0))
        return Document(source.file, text, None, (finding,))
    return Document(source.file, text, root, tuple(composer.findings))


def _without_lone_dashes(text: str, source: Source) -> tuple[str, tuple[Diagnostic, ...]]:
    """The text with nothing as the value where a person wrote ``key: -`` for it, which is no YAML."""
    lines = _LINE_ENDS.split(text)
    warnings: list[Diagnostic] = []
    for number, line in enumerate(lines):
        found = _LONE_DASH.match(line)
        if found:
            lines[number] = f"{found['before']}~{line[found.end() :]}"
            detail = "'-' alone is no value in YAML; it was taken for nothing. Leave the value out, or write null."
            place = source.at(number, len(found["before"]))
            warnings.append(warning("A value is written differently.", detail, location=place))
    return "\n".join(lines), tuple(warnings)


def _refused(file: str, summary: str, detail: str) -> Document:
    return Document(file, "", None, (error(summary, detail, location=Location(file, 1, 1)),))


class _Composer:
    """Builds the tree from the parser's events, without recursion, so that no input can exhaust the stack."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.findings: list[Diagnostic] = []
        self._root: Node | None = None
        self._open: list[Sequence | Mapping] = []
        self._keys: list[Scalar | None] = []
        self._anchors: dict[str, Node] = {}
        self._total = 0

    def compose(self, text: str) -> Node | None:
        documents = 0
        try:
            for event in _events(text):
                if isinstance(event, yaml.DocumentStartEvent):
                    documents += 1
                    if documents > 1:
                        self._stop(
                            "The file holds more than one document.", "Only one is read. Remove the rest.", event
                        )
                else:
                    self._take(event)
        except yaml.YAMLError as problem:
            raise _StopError(self._explain(problem)) from problem
        return self._root

    def _take(self, event: Any) -> None:
        mark: Any = getattr(event, "start_mark", None)
        if isinstance(event, yaml.ScalarEvent):
            tag = self._tag(event)
            plain = bool(event.implicit[0]) and not tag
            self._add(Scalar(self.source, mark.line, mark.column, event.value, plain, tag), event)
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            self._tag(event)
            kind = Mapping if isinstance(event, yaml.MappingStartEvent) else Sequence
            self._begin(kind(self.source, mark.line, mark.column), event)
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self._end()
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)

    def _add(self, node: Node, event: Any) -> None:
        self._count(1, event)
        if getattr(event, "anchor", None) and not isinstance(event, yaml.AliasEvent):
            self._anchors[event.anchor] = node
        if not self._open:
            self._root = node
            return
        parent = self._open[-1]
        if isinstance(parent, Sequence):
            parent.items.append(node)
        elif self._keys[-1] is None:
            if not isinstance(node, Scalar):
                self._stop("A key is not a simple text.", "Keys of a mapping must be plain words.", event)
            else:
                self._keys[-1] = node
        else:
            key, self._keys[-1] = self._keys[-1], None
            self._put(parent, key, node)

    def _put(self, parent: Mapping, key: Scalar, node: Node) -> None:
        if key.plain and key.text == "<<":
            parent.merged.extend(node.items if isinstance(node, Sequence) else [node])
        elif key.text in parent.keys:
            first = parent.keys[key.text]
            detail = f"The key {key.text!r} was given before, in line {first.line + 1}. Remove one of the two."
            self.findings.append(error("A key is given twice.", detail, address=key.text, location=key.location))
        else:
            parent.keys[key.text] = key
            parent.entries[key.text] = node

    def _begin(self, node: Sequence | Mapping, event: Any) -> None:
        self._add(node, event)
        if len(self._open) >= MAX_DEPTH:
            self._stop("The file is nested too deeply.", f"More than {MAX_DEPTH} levels are not read.", event)
        self._open.append(node)
        self._keys.append(None)

    def _end(self) -> None:
        node = self._open.pop()
        self._keys.pop()
        if isinstance(node, Mapping):
            self._merge(node)
        children = node.items if isinstance(node, Sequence) else list(node.entries.values())
        node.weight = 1 + sum(1 if isinstance(c, Scalar) else c.weight for c in children)
        node.height = 1 + max((0 if isinstance(c, Scalar) else c.height for c in children), default=0)

    def _merge(self, node: Mapping) -> None:
        for other in node.merged:
            if not isinstance(other, Mapping):
                detail = "What follows << must be a mapping or a list of mappings."
                self.findings.append(error("Nothing to merge.", detail, location=other.location))
                continue
            for key, value in other.entries.items():
                if key not in node.entries:
                    node.entries[key] = value
                    node.keys[key] = other.keys[key]
        node.merged.clear()

    def _alias(self, event: Any) -> None:
        target = self._anchors.get(event.anchor)
        if target is None:
            self._stop("An alias points to nothing.", f"There is no anchor &{event.anchor} before this place.", event)
        elif any(target is node for node in self._open):
            self._stop(
                "An alias contains itself.", f"*{event.anchor} stands inside &{event.anchor}, without end.", event
            )
        else:
            if not isinstance(target, Scalar):
                self._count(target.weight, event)
                if len(self._open) + target.height > MAX_DEPTH:
                    self._stop("The file is nested too deeply.", f"More than {MAX_DEPTH} levels are not read.", event)
            self._add(target, event)

    def _count(self, values: int, event: Any) -> None:
        self._total += values
        if self._total > MAX_VALUES:
            detail = f"With every alias written out it holds more than {MAX_VALUES} values."
            self._stop("The file holds too much.", detail, event)

    def _tag(self, event: Any) -> str:
        tag = event.tag or ""
        if tag in ("", "!"):
            return "str" if tag and isinstance(event, yaml.ScalarEvent) else ""
        if tag.removeprefix(_STANDARD_TAG) not in _KNOWN_TAGS:
            self._stop("A tag is not understood.", f"The tag {tag!r} has no meaning here. Remove it.", event)
        return str(tag).removeprefix(_STANDARD_TAG)

    def _stop(self, summary: str, detail: str, event: Any) -> None:
        mark = event.start_mark
        raise _StopError(error(summary, detail, location=self.source.at(mark.line, mark.column)))

    def _explain(self, problem: yaml.YAMLError) -> Diagnostic:
        mark: Any = getattr(problem, "problem_mark", None) or getattr(problem, "context_mark", None)
        words = getattr(problem, "problem", None) or str(problem)
        context = getattr(problem, "context", None)
        detail = f"{words[:1].upper()}{words[1:]}" + (f", {context}" if context else "") + "."
        if "\\t" in detail or "'\t'" in detail or (mark and "\t" in self.source.at(mark.line, 0).text):
            detail += " YAML allows no tabs for indentation: use blanks."
        return error(
            "The file is not valid YAML.", detail, location=self.source.at(mark.line, mark.column) if mark else None
        )


def _events(text: str) -> Iterator[Any]:
    parser = _EVENTS(text)
    try:
        while parser.check_event():
            yield parser.get_event()
    finally:
        parser.dispose()
