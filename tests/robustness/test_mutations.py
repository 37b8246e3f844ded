"""Applications with one file spoilt: never a traceback, always a place, and no secret in what is printed."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import random
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.cli.main import main
from orchestrator.services.load import load_topology

REPOSITORY = Path(__file__).resolve().parents[2]
EVERYTHING = REPOSITORY / "tests" / "robustness" / "everything"
MARKER = "Zq7hushhush"
_SECRET_VALUE = re.compile(r"(\b(?:password|token|secret_key|access_key)\s*[:=]\s*)(\"[^\"]*\"|'[^']*'|[^\s,;}]+)")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_PREDECESSOR = REPOSITORY / "tests" / "fixtures" / "predecessor" / "app_demo"
_BASE = "aisprint/deployments"

Files = dict[str, bytes]


def _folder(folder: Path) -> Files:
    wanted = (".yaml", ".yml", ".dat", ".py")
    found = {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.suffix in wanted}
    return {name: content for name, content in found.items() if not name.endswith(("topology.yaml", "make_picture.py"))}


def _planted(files: Files) -> Files:
    """With the marker in place of every secret."""
    made = dict(files)
    for name, content in files.items():
        if name.endswith(("physical_nodes.yaml", "auth.dat")):
            text = content.decode()
            made[name] = _SECRET_VALUE.sub(lambda found: found[1] + MARKER, text).encode()
    return made


@cache
def corpus() -> dict[str, tuple[str, Files]]:
    """By name: path of the production file in the application's folder, and the folder's files."""
    everything = _folder(EVERYTHING)
    everything.setdefault("qos_constraints_L1.yaml", everything["qos_constraints.yaml"])
    found = {"everything": ("production.yaml", everything)}
    found["example"] = ("production.yaml", _folder(REPOSITORY / "examples" / "mask-detection"))
    predecessor = _folder(_PREDECESSOR)
    for name in ("base", "deployment1", "optimal_deployment"):
        found[f"predecessor-{name}"] = (f"{_BASE}/{name}/production_deployment.yaml", predecessor)
    for folder in sorted((REPOSITORY / "tests" / "golden").iterdir()):
        if (folder / "production.yaml").is_file():
            found[f"golden-{folder.name}"] = ("production.yaml", _folder(folder))
    return {name: (production, _planted(files)) for name, (production, files) in found.items()}


def _targets(application: str) -> list[str]:
    """Files to spoil; of the predecessor's only what the deployment reads."""
    production, files = corpus()[application]
    other = [f"{_BASE}/{name}/" for name in ("base", "deployment1", "optimal_deployment")]
    own = str(Path(production).parent) + "/"
    names = [n for n in files if not n.endswith(".py") and not any(n.startswith(o) and o != own for o in other)]
    return [*names, production]


# ------------------------------------------------------------------------------------------------ structural mutations

VALUES: list[Any] = [
    {},
    {"a": {"b": [1]}},
    [],
    [[], {}],
    None,
    10**400,
    float("inf"),
    float("nan"),
    -float("inf"),
    -1,
    0,
    1e308,
    True,
    "",
    " ",
    "x" * 20_000,
    "a/" * 3000,
    "a\x1b[31mb\x07\x9b",
    "a\u202eb\u2066c\u200f",
    "../../../etc/passwd",
    "/etc/passwd",
    "a\nb\n::error::c",
    "\u0130\u1e9e\u0665",
    "\U0001f600",
    "{{ 7 * 7 }}",
    "$(id)",
]


def _steps(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner: Any = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in inner:
        yield (*path, key)
        yield from _steps(value, (*path, key))


def _at(tree: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        tree = tree[step]
    return tree


def _drop(parent: Any, key: Any, choice: random.Random, tree: Any) -> None:
    del parent[key]


def _double(parent: Any, key: Any, choice: random.Random, tree: Any) -> None:
    if isinstance(parent, list):
        parent.insert(key, copy.deepcopy(parent[key]))
    else:
        parent[f"{key}2"] = copy.deepcopy(parent[key])


def _misspell(parent: Any, key: Any, choice: random.Random, tree: Any) -> None:
    if isinstance(parent, list):
        parent[key] = f"{parent[key]}"[::-1] if not isinstance(parent[key], (dict, list)) else parent[key]
        return
    word = f"{key}"
    at = choice.randrange(max(1, len(word) - 1))
    ways = [
        word[:at] + word[at + 1 : at + 2] + word[at : at + 1] + word[at + 2 :],
        word[:at] + word[at + 1 :],
        word.swapcase(),
        word.casefold(),
        word + "\x1b[2J",
        word * 400,
    ]
    parent[choice.choice(ways)] = parent.pop(key)


def _replace(parent: Any, key: Any, choice: random.Random, tree: Any) -> None:
    parent[key] = copy.deepcopy(choice.choice(VALUES))


def _move(parent: Any, key: Any, choice: random.Random, tree: Any) -> None:
    value = parent[key]
    if value == MARKER:  # a secret that is written as a name is none any more
        return
    del parent[key]
    places = [p for p in [(), *_steps(tree)] if isinstance(_at(tree, p), (dict, list))]
    target = _at(tree, choice.choice(places))
    if isinstance(target, dict):
        target[key] = value
    else:
        target.insert(choice.randrange(len(target) + 1), value)


def _edge(parent: Any, key: Any, choice: random.Random, tree: Any) -> None:
    """More edges between the components that the file knows, so that circles come about."""
    system = tree.get("System") if isinstance(tree, dict) else None
    names = system.get("components") if isinstance(system, dict) else None
    if isinstance(system, dict) and isinstance(names, list) and names:
        edges = [[choice.choice(names), choice.choice(names), choice.choice([0, 0.5, 1])] for _ in range(4)]
        if isinstance(system.get("dependencies"), list):
            system["dependencies"] += edges
    else:
        _replace(parent, key, choice, tree)


STRUCTURAL: list[Callable[[Any, Any, random.Random, Any], None]] = [
    _drop,
    _double,
    _misspell,
    _misspell,
    _replace,
    _replace,
    _replace,
    _replace,
    _move,
    _edge,
]


def spoil_tree(content: bytes, choice: random.Random) -> bytes:
    """One to three changes of what is written, in a file that remains YAML."""
    tree = yaml.safe_load(content)
    for _ in range(choice.randint(1, 3)):
        places = list(_steps(tree))
        if not places:
            break
        path = choice.choice(places)
        choice.choice(STRUCTURAL)(_at(tree, path[:-1]), path[-1], choice, tree)
    written = yaml.safe_dump(tree, sort_keys=False, allow_unicode=choice.random() < 0.5)
    return (written.replace("1.0e+308", "1e400") if choice.random() < 0.5 else written).encode()


# --------------------------------------------------------------------------------------------------- textual mutations


def _flip(content: bytes, choice: random.Random) -> bytes:
    made = bytearray(content)
    for _ in range(choice.randint(1, 8)):
        made[choice.randrange(len(made))] ^= 1 << choice.randrange(8)
    return bytes(made)


def _lines(content: bytes, choice: random.Random) -> bytes:
    lines = content.split(b"\n")
    a, b = choice.randrange(len(lines)), choice.randrange(len(lines))
    way = choice.randrange(4)
    if way == 0:
        del lines[a]
    elif way == 1:
        lines.insert(a, lines[a])
    elif way == 2:
        lines[a], lines[b] = lines[b], lines[a]
    else:
        lines[a] = b"\t" + lines[a].lstrip()
    return b"\n".join(lines)


def _insert(content: bytes, choice: random.Random) -> bytes:
    piece = choice.choice(PIECES)
    if choice.random() < 0.4:
        at = choice.randrange(len(content) + 1)
        return content[:at] + piece + content[at:]
    lines = content.split(b"\n")
    at = choice.randrange(len(lines))
    indent = lines[at][: len(lines[at]) - len(lines[at].lstrip())]
    lines.insert(at, indent + piece)
    return b"\n".join(lines)


def _value(content: bytes, choice: random.Random) -> bytes:
    """Another text after one of the colons."""
    lines = content.split(b"\n")
    with_value = [i for i, line in enumerate(lines) if b": " in line]
    if not with_value:
        return _insert(content, choice)
    at = choice.choice(with_value)
    lines[at] = lines[at].partition(b": ")[0] + b": " + choice.choice(PIECES)
    return b"\n".join(lines)


PIECES = [
    b"\x00",
    b"\x1b[31m",
    b"\xff\xfe",
    b"\xc3",
    b"\xed\xa0\x80",
    "\u2028x: 1".encode(),
    "\x85x: 1".encode(),
    "\u202e".encode(),
    b"<<: *nothing",
    b"<<: 5",
    b"<<: {name: x}",
    b"<<: [{name: x}, 3]",
    b"a: &a [*a]",
    b"&a name: *a",
    b"x: &b {y: 1}\nz: *b",
    b"!!python/object/apply:os.system [touch /tmp/owned]",
    b"x: !!python/object/apply:os.system ['true']",
    b"!!binary x",
    b"!!int abc",
    b"!!float {}",
    b"!!null x",
    b"!!set {a, b}",
    b"!foo bar",
    b"%YAML 9.9",
    b"%TAG ! tag:x,2000:",
    b"---",
    b"...",
    b"--- {a: b}",
    b"name: a\nname: b",
    b"? [a, b]\n: c",
    b"? {a: b}",
    b"[" * 150,
    b"{a: " * 150,
    b"- " * 150,
    b"x: " + b"[" * 120 + b"]" * 120,
    b"|",
    b">-",
    b"'",
    b'"\\e[31m\\x9b\\u202e\\0"',
    b'"\\ud800"',
    b"`",
    b"@x",
    b"2024-99-99",
    b"2024-01-01",
    b"1e400",
    b".nan",
    b"-.inf",
    b"9" * 5000,
    b"0x" + b"f" * 5000,
    b"0b" + b"1" * 9000,
    b"1:" * 300 + b"1",
    b"0o9",
    b"1_000_",
    b"+",
    b"__",
    b"=",
    b"~",
    b"x" * 30_000,
    "name: \u0665".encode(),
    "\u0665".encode(),
    "\u00b2".encode(),
    b"a0: &a0 [x]\n"
    + b"".join(b"a%d: &a%d [%s]\n" % (i, i, b", ".join([b"*a%d" % (i - 1)] * 9)) for i in range(1, 10)),
]

TEXTUAL: list[Callable[[bytes, random.Random], bytes]] = [
    _flip,
    _flip,
    _lines,
    _lines,
    _insert,
    _insert,
    _value,
    _value,
    lambda c, r: c[: r.randrange(len(c))],
    lambda c, _: b"\xef\xbb\xbf" + c,
    lambda c, _: c.replace(b"\n", b"\r\n"),
    lambda c, _: c.replace(b"\n", b"\r"),
    lambda c, _: c.replace(b"  ", b"\t"),
    lambda c, _: c.decode("utf-8", "replace").encode("utf-16"),
    lambda c, _: c.decode("utf-8", "replace").encode("utf-32-le"),
    lambda c, _: c.replace(b"a", "\u00e9".encode("latin-1"), 1),
    lambda c, _: c + b"\n---\n" + c,
    lambda c, _: c + c,
]


def spoil_text(content: bytes, choice: random.Random) -> bytes:
    """One or two changes of the bytes."""
    for _ in range(choice.randint(1, 2)):
        if content:
            content = choice.choice(TEXTUAL)(content, choice)
    return content


# ------------------------------------------------------------------------------------------------------- what must hold


def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code and what a command printed."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(list(arguments))
        except SystemExit as stop:  # wrong usage
            code = stop.code if isinstance(stop.code, int) else 1
    return code, out.getvalue(), err.getvalue()


def check(production: Path, *more: str, exports: bool = True) -> int:
    """Holds the commands to what a person may expect of them, whatever the files hold."""
    load_topology(production)
    code, out, err = run("validate", str(production), "--format", "json", *more)
    found = json.loads(out)["diagnostics"]
    errors = [one for one in found if one["severity"] == "error"]
    assert code == (2 if errors else 0), (code, found)
    for one in errors:
        assert (one["location"] or {}).get("line", 0) >= 1, one
    human_code, shown, aside = run("validate", str(production), *more)
    assert human_code == code
    assert not _CONTROL.search(shown + aside), _CONTROL.search(shown + aside)
    printed = [out, err, shown, aside]
    for dialect in ("im", "fdl", "tosca") if not code and exports else ():
        to = production.parent / f"out-{dialect}"
        code_of_dialect, *texts = run("compile", str(production), "--dialect", dialect, "-o", str(to), *more)
        assert code_of_dialect in (0, 2), (dialect, texts)
        assert not _CONTROL.search("".join(texts))
        printed += texts
        printed += [p.read_text("utf-8") for p in to.rglob("*") if p.is_file()] if to.is_dir() else []
    assert MARKER not in "".join(printed)
    return code


def write(folder: Path, files: Files) -> None:
    """Put an application into a folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.fixture(autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPLOY_HOME", str(tmp_path_factory.mktemp("state")))


@pytest.mark.parametrize("application", sorted(corpus()))
def test_what_is_spoilt_is_good_before(application: str, tmp_path: Path) -> None:
    production, files = corpus()[application]
    write(tmp_path, files)
    assert check(tmp_path / production) == 0


def spoil_and_check(folder: Path, seed: int, spoil: Callable[[bytes, random.Random], bytes]) -> None:
    """One application with one file spoilt; everything follows from the seed."""
    choice = random.Random(seed)
    weighted = [*sorted(corpus()), *["everything"] * 8]
    application = choice.choice(weighted)
    production, files = corpus()[application]
    names = [n for n in _targets(application) if spoil is spoil_text or not n.endswith(".dat")]
    name = choice.choice(names)
    content = spoil(files[name], choice)
    write(folder, {**files, name: content})
    try:
        check(folder / production)
    except BaseException as problem:
        problem.add_note(f"seed {seed}: {application}, {name}")
        raise


@pytest.mark.parametrize("name", sorted(n for n in corpus()["everything"][1] if not n.endswith(".py")))
def test_numbers_of_thousands_of_digits(name: str, tmp_path: Path) -> None:
    production, files = corpus()["everything"]
    huge = re.sub(rb"(\bname: ?)[^\n,}]*", b"\\g<1>0x" + b"f" * 5000, files[name])
    write(tmp_path, {**files, name: huge})
    check(tmp_path / production)


def test_an_environment_variable_whose_name_no_template_could_hold(tmp_path: Path) -> None:
    production, files = corpus()["everything"]
    write(tmp_path, {**files, "src/mask-detector/env.yaml": b"A: 1\nB" + b"X" * 900 + b": 1\n"})
    assert check(tmp_path / production) == 2


def test_a_limit_that_is_no_float_is_exported(tmp_path: Path) -> None:
    production, files = corpus()["golden-fork-and-join"]
    content = files["qos_constraints.yaml"] + b"  throughput_constraints: " + b"9" * 400 + b"\n"
    write(tmp_path, {**files, "qos_constraints.yaml": content})
    check(tmp_path / production)


_QUICK = settings(
    max_examples=int(os.environ.get("ROBUSTNESS_EXAMPLES", "60")),
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
_SLOW = settings(_QUICK, max_examples=1700)
_SEEDS = st.integers(0, 2**32)


@_QUICK
@given(seed=_SEEDS)
def test_spoilt_values(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    spoil_and_check(tmp_path_factory.mktemp("spoilt"), seed, spoil_tree)


@_QUICK
@given(seed=_SEEDS)
def test_spoilt_text(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    spoil_and_check(tmp_path_factory.mktemp("spoilt"), seed, spoil_text)


@pytest.mark.slow
@_SLOW
@given(seed=_SEEDS)
def test_many_spoilt_values(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    spoil_and_check(tmp_path_factory.mktemp("spoilt"), seed, spoil_tree)


@pytest.mark.slow
@_SLOW
@given(seed=_SEEDS)
def test_many_spoilt_texts(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    spoil_and_check(tmp_path_factory.mktemp("spoilt"), seed, spoil_text)
