"""The YAML that manifests and registries.yaml are written in."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from k3s_standin.scalars import YamlError, parse_scalar

_KEY = re.compile(r"""("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\s\[\]{}"',&*!|>%@`#-][^#]*?|-[^\s#][^#]*?)\s*:(?:\s+|$)""")


def without_comment(line: str) -> str:
    """A line without what follows a ``#`` outside quotes."""
    quote = ""
    for at, sign in enumerate(line):
        if quote:
            quote = "" if sign == quote and (sign == "'" or line[at - 1] != "\\") else quote
        elif sign in "\"'" and (at == 0 or line[at - 1] in " [{,:"):
            quote = sign
        elif sign == "#" and (at == 0 or line[at - 1] in " \t"):
            return line[:at].rstrip()
    return line.rstrip()


class FlowReader:
    """``[a, {b: c}]`` and quoted scalars, over as many lines as were joined before."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def read(self) -> Any:
        """The one value in the text."""
        value = self._value(",]}")
        if self._text[self._at :].strip():
            raise YamlError(f"did not find expected end of line: {self._text[self._at :].strip()[:40]}")
        return value

    def _skip(self) -> str:
        while self._text[self._at : self._at + 1].isspace():
            self._at += 1
        return self._text[self._at : self._at + 1]

    def _value(self, ends: str) -> Any:
        sign = self._skip()
        if sign == "[":
            return self._collection("]", mapping=False)
        if sign == "{":
            return self._collection("}", mapping=True)
        return parse_scalar(self._word(ends))

    def _word(self, ends: str) -> str:
        begin, sign = self._at, self._text[self._at : self._at + 1]
        if sign and sign in "\"'":
            pattern = r'"(?:[^"\\]|\\.)*"' if sign == '"' else r"'(?:[^']|'')*'"
            match = re.compile(pattern, re.DOTALL).match(self._text, begin)
            if not match:
                raise YamlError("found unexpected end of stream in a quoted scalar")
            self._at = match.end()
            return match.group()
        while self._at < len(self._text):
            sign, following = self._text[self._at], self._text[self._at + 1 : self._at + 2]
            if sign in ends and (sign != ":" or not following or following in " ,]}"):
                break
            self._at += 1
        return self._text[begin : self._at]

    def _collection(self, end: str, *, mapping: bool) -> Any:
        found: Any = {} if mapping else []
        self._at += 1
        while self._skip() != end:
            if not self._text[self._at :]:
                raise YamlError(f"did not find expected ',' or '{end}'")
            if mapping:
                key = parse_scalar(self._word_of_key())
                found[key if isinstance(key, str) else str(key)] = self._after_key()
            else:
                found.append(self._value(",]"))
            if self._skip() == ",":
                self._at += 1
            elif self._skip() != end:
                raise YamlError(f"did not find expected ',' or '{end}'")
        self._at += 1
        return found

    def _word_of_key(self) -> str:
        return self._word(":,}")

    def _after_key(self) -> Any:
        if self._skip() != ":":
            return None
        self._at += 1
        return self._value(",}")


class YamlReader:
    """One document in the YAML that manifests are written in: block and flow collections, all kinds of scalars."""

    def __init__(self, lines: list[tuple[int, str]]) -> None:
        self._lines = lines
        self._at = 0

    def read(self) -> Any:
        """The document's value."""
        first_line = self._peek()
        if first_line is None:
            return None
        value = self._node(first_line[0])
        if self._peek() is not None:
            self._fail("did not find expected key")
        return value

    def _fail(self, why: str) -> NoReturn:
        raise YamlError(f"line {self._lines[min(self._at, len(self._lines) - 1)][0]}: {why}")

    def _peek(self) -> tuple[int, str] | None:
        """Indentation and content of the next line that has any."""
        while self._at < len(self._lines):
            line = without_comment(self._lines[self._at][1])
            content = line.lstrip(" ")
            if content.startswith("\t"):
                self._fail("found character that cannot start any token")
            if content:
                return len(line) - len(content), content
            self._at += 1
        return None

    def _node(self, indent: int) -> Any:
        content = (self._peek() or (0, ""))[1]
        if content == "-" or content.startswith("- "):
            return self._sequence(indent)
        if content[0] not in "[{" and _KEY.match(content):
            return self._mapping(indent)
        self._at += 1
        return self._inline(content, indent - 1)

    def _sequence(self, indent: int) -> list[Any]:
        found: list[Any] = []
        while (line := self._peek()) and line[0] == indent and (line[1] == "-" or line[1].startswith("- ")):
            rest = line[1][1:].lstrip(" ")
            if rest and rest[0] not in "|>":
                number = self._lines[self._at][0]
                column = indent + len(line[1]) - len(rest)
                self._lines[self._at] = (number, " " * column + rest)
                found.append(self._node(column))
            else:
                self._at += 1
                found.append(self._below(rest, indent))
        self._check_end(indent)
        return found

    def _mapping(self, indent: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while (line := self._peek()) and line[0] == indent and not line[1].startswith("- "):
            match = _KEY.match(line[1])
            if not match:
                self._fail("could not find expected ':'")
            key = parse_scalar(match.group(1))
            name = key if isinstance(key, str) else match.group(1)
            if name in found:
                self._fail(f"mapping key {json.dumps(name)} already defined")
            self._at += 1
            found[name] = self._below(line[1][match.end() :], indent)
        self._check_end(indent)
        return found

    def _check_end(self, indent: int) -> None:
        line = self._peek()
        if line and line[0] > indent:
            self._fail("did not find expected key")

    def _below(self, rest: str, indent: int) -> Any:
        """The value that begins after a key or a dash, or on the lines below it."""
        if rest:
            return self._block(rest, indent) if rest[0] in "|>" else self._inline(rest, indent)
        line = self._peek()
        if line and (line[0] > indent or (line[0] == indent and line[1].startswith("- "))):
            return self._node(line[0])
        return None

    def _inline(self, text: str, indent: int) -> Any:
        opening = text[0]
        while opening in "[{\"'" and not is_balanced(text):
            if self._at >= len(self._lines):
                self._fail("found unexpected end of stream")
            text += " " + without_comment(self._lines[self._at][1]).strip()
            self._at += 1
        if opening not in "[{\"'":
            while (line := self._peek()) and line[0] > indent:
                if _KEY.match(line[1]):
                    self._fail("mapping values are not allowed in this context")
                text += " " + line[1]
                self._at += 1
            if re.search(r":\s", text):
                self._fail("mapping values are not allowed in this context")
            return parse_scalar(text)
        try:
            return FlowReader(text).read()
        except YamlError as reason:
            self._fail(str(reason))

    def _block(self, header: str, indent: int) -> str:
        match = re.fullmatch(r"([|>])([-+]?)([1-9]?)([-+]?)", header)
        if not match:
            self._fail("did not find expected comment or line break")
        lines: list[str] = []
        width = indent + int(match.group(3)) if match.group(3) else 0
        while self._at < len(self._lines):
            raw = self._lines[self._at][1]
            depth = len(raw) - len(raw.lstrip(" "))
            if raw.strip() and not width:
                width = max(depth, indent + 1)
            if raw.strip() and depth < max(width, indent + 1):
                break
            lines.append(raw[width:] if raw.strip() else "")
            self._at += 1
        text = "\n".join(lines) if match.group(1) == "|" else re.sub(r"(?<=\S)\n(?=\S)", " ", "\n".join(lines))
        chomping = match.group(2) or match.group(4)
        return text.rstrip("\n") if chomping == "-" else text.rstrip("\n") + "\n" if chomping != "+" else text + "\n"


def is_balanced(text: str) -> bool:
    """Whether every bracket and quote that is opened is closed."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"|\'(?:[^\']|\'\')*\'', "", text)
    if re.search(r"""(?:^|[\s\[{,:])["']""", bare):
        return False
    return sum(bare.count(sign) for sign in "[{") <= sum(bare.count(sign) for sign in "]}")


def load_yaml(text: str) -> list[Any]:
    """Every document of a text."""
    documents: list[list[tuple[int, str]]] = [[]]
    for number, line in enumerate(text.splitlines(), 1):
        if line.rstrip() == "---" or line.startswith("--- "):
            documents.append([(number, line[4:])] if line[4:].strip() else [])
        elif line.rstrip() == "...":
            documents.append([])
        elif not line.startswith("%"):
            documents[-1].append((number, line))
    return [value for lines in documents if lines and (value := YamlReader(lines).read()) is not None]
