"""Takes typed values out of a located tree, one key after the other, and reports what does not fit."""

from __future__ import annotations

import difflib
from bisect import bisect_left
from collections.abc import Iterable, Iterator

from orchestrator.diagnostics import Diagnostic, Location, error, note, warning
from orchestrator.topology.located import Mapping, Node, Scalar, Sequence, plain_value
from orchestrator.topology.model import Value

MOST_FINDINGS = 20_000
"""More findings than this about one input are counted, not kept."""


class Findings:
    """Collects diagnostics in the order they are found; of very many, the rest is counted in a last one."""

    def __init__(self) -> None:
        self._found: list[Diagnostic] = []
        self._left_out: list[Diagnostic] = []
        self._number_left_out = 0

    def error(self, summary: str, detail: str, place: Location | None, address: str = "") -> None:
        """Record an error."""
        self._add(error(summary, detail, address=address, location=place))

    def warning(self, summary: str, detail: str, place: Location | None, address: str = "") -> None:
        """Record a warning."""
        self._add(warning(summary, detail, address=address, location=place))

    def note(self, summary: str, detail: str, place: Location | None, address: str = "") -> None:
        """Record what was assumed or chosen where the input leaves it open."""
        self._add(note(summary, detail, address=address, location=place))

    def extend(self, diagnostics: Iterable[Diagnostic]) -> None:
        """Record what somebody else found."""
        for found in diagnostics:
            self._add(found)

    def _add(self, found: Diagnostic) -> None:
        if len(self._found) < MOST_FINDINGS:
            self._found.append(found)
            return
        self._number_left_out += 1
        if not self._left_out or (found.is_error and not self._left_out[0].is_error):
            self._left_out = [found]

    def all(self) -> tuple[Diagnostic, ...]:
        """Everything found so far; what was left out counts as bad as its worst."""
        if not self._left_out:
            return tuple(self._found)
        worst = self._left_out[0]
        detail = f"{self._number_left_out} more were left out. One of them: {worst.summary} {worst.detail}"
        make = error if worst.is_error else warning
        return (*self._found, make("There are too many findings.", detail, location=worst.location))


_MOST_COMPARED = 60
_MOST_NAMED = 20


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The known word that resembles a word most, capitals aside; empty if none does.

    Of very many words only those beside it in the alphabet, read forwards and backwards, are compared, so that many
    wrong words take no long time.

    Args:
        word: What is written.
        known: What there is.
        cutoff: From 0 (anything) to 1 (the same), as ``difflib`` counts.
    """
    folded = {name.casefold(): name for name in known}
    candidates: Iterable[str] = folded
    if len(folded) > _MOST_COMPARED:
        written = word.casefold()
        backwards = _beside(written[::-1], sorted(name[::-1] for name in folded))
        candidates = {*_beside(written, sorted(folded)), *(name[::-1] for name in backwards)}
    near = difflib.get_close_matches(word.casefold(), sorted(candidates), n=1, cutoff=cutoff)
    return folded[near[0]] if near else ""


def _beside(word: str, order: list[str]) -> list[str]:
    place = bisect_left(order, word)
    return order[max(0, place - _MOST_COMPARED // 2) : place + _MOST_COMPARED // 2]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A sentence that names the nearest known word, or what there is if none is near; begins with a blank."""
    names = sorted(set(known))
    near = nearest(word, names)
    if near:
        return f" Did you mean {near!r}?"
    shown = ", ".join(names[:_MOST_NAMED])
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f" There is: {shown}{more}." if names else ""


def kind_of(node: Node) -> str:
    """What a value is, in words."""
    if isinstance(node, Mapping):
        return "a mapping"
    if isinstance(node, Sequence):
        return "a list"
    value = node.value
    if value is None:
        return "nothing"
    kinds = {bool: "a boolean", int: "a number", float: "a number", str: "a text"}
    shown = f" ({node.text[:60]!r})" if node.source.lines else ""  # nothing of a file that holds secrets
    return kinds[type(value)] + shown


class Section:
    """A mapping that is being read; every key that nobody took is reported by ``finish``.

    Args:
        node: The mapping.
        address: Where it is, in the words of the file, e.g. ``System.Components.component1``.
        findings: Where reports go.
    """

    def __init__(self, node: Mapping, address: str, findings: Findings) -> None:
        self.node = node
        self.address = address
        self.findings = findings
        self._asked: dict[str, None] = {}

    @property
    def place(self) -> Location:
        """Where the mapping begins."""
        return self.node.location

    def key_place(self, key: str) -> Location:
        """Where a key stands, else where the mapping begins."""
        return self.node.keys[key].location if key in self.node.keys else self.place

    def value_place(self, key: str) -> Location:
        """Where the value of a key stands, else where the mapping begins."""
        return self.node.entries[key].location if key in self.node.entries else self.place

    def value_places(self) -> dict[str, Location]:
        """Where the value of each key stands."""
        return {key: node.location for key, node in self.node.entries.items()}

    def has(self, key: str) -> bool:
        """Whether the key is there with a value that is not null."""
        node = self.node.entries.get(key)
        return node is not None and not (isinstance(node, Scalar) and node.is_null)

    def take(self, key: str) -> Node | None:
        """The value of a key; ``None`` if it is absent or null."""
        self._asked[key] = None
        return self.node.entries[key] if self.has(key) else None

    def need(self, key: str, wanted: str) -> Node | None:
        """The value of a key; an error is reported if it is absent or null."""
        node = self.take(key)
        if node is None:
            detail = f"{self.address} must have {key!r}: {wanted}."
            near = difflib.get_close_matches(key.casefold(), {k.casefold() for k in self.node.keys}, n=1, cutoff=0.8)
            if near:
                detail += f" There is {near[0]!r}, which resembles it."
            self.findings.error("A key is missing.", detail, self.key_place(key), self.address)
        return node

    def wrong(self, key: str, wanted: str) -> None:
        """Report that a key's value is not what is wanted."""
        node = self.node.entries[key]
        detail = f"{self.address}.{key} must be {wanted}; it is {kind_of(node)}."
        self.findings.error("A value has the wrong type.", detail, node.location, f"{self.address}.{key}")

    def text(self, key: str, default: str = "") -> str:
        """A text; numbers and booleans are taken as written."""
        node = self.take(key)
        if node is None:
            return default
        if isinstance(node, Scalar):
            return node.text
        self.wrong(key, "a text")
        return default

    def need_text(self, key: str, wanted: str) -> str:
        """A text that must be there and not be empty; empty after an error was reported."""
        if self.need(key, wanted) is None:
            return ""
        found = self.text(key).strip()
        if not found and isinstance(self.node.entries[key], Scalar):
            self.findings.error(
                "A value is empty.", f"{self.address}.{key} must be {wanted}.", self.value_place(key), self.address
            )
        return found

    def number(self, key: str, default: float | None = None, unit: str = "") -> float | None:
        """A number; one in quotes is accepted."""
        node = self.take(key)
        if node is None:
            return default
        found = _number(node)
        if found is None:
            self.wrong(key, f"a number{f' ({unit})' if unit else ''}")
            return default
        return found

    def integer(self, key: str, default: int | None = None, unit: str = "") -> int | None:
        """A whole number; one in quotes or written as ``2.0`` is accepted."""
        found = self.number(key, None, unit)
        if found is None:
            return default
        if found != int(found):
            self.wrong(key, "a whole number")
            return default
        return int(found)

    def boolean(self, key: str, default: bool = False) -> bool:
        """A boolean; ``"true"`` in quotes is accepted."""
        node = self.take(key)
        if node is None:
            return default
        if isinstance(node, Scalar):
            value = node.value
            if isinstance(value, bool):
                return value
            if node.text.strip().casefold() in ("true", "false"):
                return node.text.strip().casefold() == "true"
        self.wrong(key, "true or false")
        return default

    def texts(self, key: str) -> tuple[Scalar, ...]:
        """A list of texts; a single text counts as a list of one."""
        node = self.take(key)
        if node is None:
            return ()
        items = node.items if isinstance(node, Sequence) else [node]
        if not all(isinstance(item, Scalar) for item in items):
            self.wrong(key, "a list of texts")
            return ()
        return tuple(item for item in items if isinstance(item, Scalar))

    def section(self, key: str) -> Section | None:
        """A mapping inside, if it is there."""
        node = self.take(key)
        if node is None:
            return None
        if not isinstance(node, Mapping):
            self.wrong(key, "a mapping")
            return None
        return Section(node, f"{self.address}.{key}" if self.address else key, self.findings)

    def accept(self, key: str, *variants: str) -> None:
        """Read what stands under one of the variants as if it stood under ``key``; a warning says so."""
        if self.has(key):
            return
        for variant in variants:
            if self.has(variant):
                place = self.key_place(variant)
                self.node.entries[key] = self.node.entries.pop(variant)
                self.node.keys[key] = self.node.keys.pop(variant)
                detail = f"In {self.address or 'the file'}, {variant!r} was taken for {key!r}."
                self.findings.warning("A key is written differently.", detail, place, f"{self.address}.{variant}")
                return

    def items(self, key: str) -> Iterator[tuple[str, Section]]:
        """Every mapping inside the mapping ``key``, with its key; a list of mappings is taken with a warning."""
        node = self.take(key)
        if not isinstance(node, Sequence):
            yield from self.sections(key)
            return
        detail = f"{self.address}.{key} is a list; its entries were taken for a mapping's, by their place."
        self.findings.warning("A list was taken for a mapping.", detail, self.value_place(key), f"{self.address}.{key}")
        for index, item in enumerate(node.items, start=1):
            if isinstance(item, Mapping):
                yield self._item(key, index, item)
            else:
                self.findings.error(
                    "A value has the wrong type.",
                    f"{self.address}.{key}[{index}] must be a mapping; it is {kind_of(item)}.",
                    item.location,
                    f"{self.address}.{key}",
                )

    def _item(self, key: str, index: int, item: Mapping) -> tuple[str, Section]:
        """An entry of a list; one that only wraps a mapping, ``- first: {…}``, stands for that."""
        names = tuple(item.entries)
        inner = item.entries[names[0]] if len(names) == 1 else None
        if isinstance(inner, Mapping):
            return names[0], Section(inner, f"{self.address}.{key}[{index}].{names[0]}", self.findings)
        return f"{key}{index}", Section(item, f"{self.address}.{key}[{index}]", self.findings)

    def sections(self, key: str) -> Iterator[tuple[str, Section]]:
        """Every mapping inside the mapping ``key``, with its key."""
        inner = self.section(key)
        if inner is not None:
            yield from inner.children()

    def children(self) -> Iterator[tuple[str, Section]]:
        """Every key of this mapping with the mapping it holds; others are reported."""
        for name in self.node.entries:
            found = self.section(name)
            if found is not None:
                yield name, found
            elif not self.has(name):
                self.findings.warning(
                    "A key has no value.", f"{self.address}.{name} is left out.", self.key_place(name), self.address
                )

    def value(self, key: str) -> Value:
        """Whatever the key holds."""
        node = self.take(key)
        return plain_value(node) if node is not None else None

    def finish(self, also: Iterable[str] = ()) -> None:
        """Report keys that nobody asked for: an error if one resembles a known key, else a warning.

        Args:
            also: Keys that are known and have no meaning here.
        """
        known = {*self._asked, *also}
        absent = {key.casefold(): key for key in known if key not in self.node.entries}
        for key, place in self.node.keys.items():
            if key in known:
                continue
            near = difflib.get_close_matches(key.casefold(), absent, n=1, cutoff=0.8)
            address = f"{self.address}.{key}"
            if near:
                detail = f"{self.address} has no {key!r}. Did you mean {absent[near[0]]!r}?"
                self.findings.error("A key is not known.", detail, place.location, address)
            else:
                detail = f"{self.address} has no {key!r}; it is left out."
                self.findings.warning("A key is not known.", detail, place.location, address)


def _number(node: Node) -> float | None:
    if not isinstance(node, Scalar):
        return None
    value = node.value
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if value is None or isinstance(value, bool) or not abs(value) < 1e300:
        return None  # neither a number that is none nor an endless one is below the limit
    return float(value)
