"""What a person reads."""

from __future__ import annotations

from pathlib import Path

from orchestrator.cli.views import human
from orchestrator.diagnostics import Diagnostic, Location, error, in_order, warning
from orchestrator.errors import DeployError
from orchestrator.planning.actions import Action
from orchestrator.planning.desired import DesiredInstance
from orchestrator.planning.plan import Change, Plan
from orchestrator.planning.substitution import Substitution
from orchestrator.topology.model import Group, Topology


def change(address: str, action: Action, *reasons: str) -> Change:
    node = address.partition("[")[0]
    return Change(address, "T", action, reasons, DesiredInstance(address, node, "T"))


PLAN = Plan(
    "demo",
    "l",
    1,
    "local",
    {
        "edge[0]": change("edge[0]", Action.CREATE, "not there yet"),
        "image": change("image", Action.NO_OP, "as wanted"),
    },
)
LAYER = Group("layer1", "continuum.groups.ComputationalLayer", ("edge",), {"name": "Edge Layer", "number": 1})


def test_a_finding_shows_its_place_the_line_and_a_mark_below_the_column() -> None:
    place = Location("f.yaml", 3, 5, "    bad: 1")
    findings = [error("It is wrong.", "Mend it.", location=place), warning("Look.", address="a.b")]
    shown = human.render_diagnostics(findings)
    assert shown.splitlines() == [
        "f.yaml:3:5: error: It is wrong.",
        "        bad: 1",
        "        ^",
        "  Mend it.",
        "",
        "a.b: warning: Look.",
    ]


def test_a_long_line_is_cut_around_the_place() -> None:
    place = Location("f.yaml", 1, 500, "x" * 499 + "HERE" + "y" * 500)
    shown = human.render_diagnostics([error("Wrong.", location=place)]).splitlines()
    assert len(shown[1]) < 130
    assert shown[1][shown[2].index("^") :].startswith("HERE")


def unknown(line: int, key: str = "powerDraw", column: int = 3) -> Diagnostic:
    place = Location("f.yaml", line, column, f"  {key}: {line}")
    return warning("A key is not known.", f"There is no {key!r}.", location=place)


def test_what_is_said_of_the_same_key_again_is_shown_by_its_lines() -> None:
    shown = human.render_diagnostics([unknown(3), unknown(9), unknown(4, "speed"), unknown(27)])
    assert shown.splitlines() == [
        "f.yaml:3:3: warning: A key is not known.",
        "      powerDraw: 3",
        "      ^",
        "  There is no 'powerDraw'.",
        "  The same in lines 9 (powerDraw: 9), 27 (powerDraw: 27).",
        "",
        "f.yaml:4:3: warning: A key is not known.",
        "      speed: 4",
        "      ^",
        "  There is no 'speed'.",
    ]


def absent(line: int, key: str) -> Diagnostic:
    place = Location("f.yaml", line, 3, f"  name: c{line}")
    return warning("A number is missing.", f"There is no {key!r}.", location=place)


def test_what_is_absent_is_told_apart() -> None:
    shown = human.render_diagnostics([absent(line, key) for line in (3, 9) for key in ("memory", "cores")])
    assert shown.count("A number is missing.") == shown.count("The same in line 9 (name: c9).") == 2


def test_many_repetitions_are_counted() -> None:
    shown = human.render_diagnostics([unknown(line) for line in range(1, 31)])
    assert shown.count("powerDraw:") == 1 + human.MOST_REPETITIONS
    assert shown.endswith(", 11 (powerDraw: 11), and 19 more.")


def test_errors_and_findings_of_one_line_are_each_shown() -> None:
    place = Location("f.yaml", 3, 5, "  a: 1")
    errors = [error("Wrong.", location=place), error("Wrong.", location=Location("f.yaml", 7, 5, "  a: 2"))]
    assert "The same" not in human.render_diagnostics(errors)
    assert "The same" not in human.render_diagnostics([unknown(3), unknown(3, column=9)])


def test_the_plan_is_a_tree_of_layers_with_reasons_and_counts() -> None:
    shown = human.render_plan(PLAN, Topology("demo", groups={"layer1": LAYER}))
    assert "Plan for demo (profile local)" in shown
    assert shown.index("Edge Layer") < shown.index("edge[0]") < shown.index("image")
    assert "not there yet" in shown
    assert "Changes: 1 unchanged, 1 to create." in shown


def test_an_empty_plan_says_so() -> None:
    plan = Plan("demo", "l", 1, "local", {"image": change("image", Action.NO_OP, "as wanted")})
    assert "No changes: everything is as wanted." in human.render_plan(plan, None)


def test_equal_substitutions_share_a_row_and_none_is_said_too() -> None:
    two = [Substitution("a", "board", "container", "no board"), Substitution("b", "board", "container", "no board")]
    shown = human.render_substitutions(two)
    assert "a, b" in shown
    assert shown.count("container") == 1
    assert "as in production" in human.render_substitutions([])


def test_cells_break_at_spaces() -> None:
    shown = human.table(("h",), [("one two three four",)], wrap=9)
    assert [line.strip() for line in shown.splitlines()][2:] == ["one two", "three", "four"]


def test_an_error_says_what_where_and_what_to_do() -> None:
    error_shown = DeployError("It broke.", detail="Here.", resolution="Mend it.")
    shown = human.render_error(error_shown, Path("runs/1/debug.log"))
    assert shown.splitlines() == ["Error: It broke.", "  Here.", "→ Mend it.", "  Log: runs/1/debug.log"]


def test_nothing_of_a_file_steers_the_terminal() -> None:
    hostile = "a\x1b[31mb\x07\x9b2J\u202ec"
    found = error("Wrong.", f"It is {hostile}\nand more.", location=Location("f.yaml", 1, 1, f"name: {hostile}"))
    shown = human.render_diagnostics([found])
    assert "\\x1b[31mb\\x07\\x9b2J\\u202ec" in shown
    assert all(c.isprintable() or c == "\n" for c in shown)


def test_very_many_findings_are_counted_and_errors_kept() -> None:
    warnings = [warning("Odd.", f"{n}", location=Location("f.yaml", n, 1, f"k{n}: 1")) for n in range(1, 1000)]
    shown = human.render_diagnostics([*warnings, error("Wrong.", location=Location("f.yaml", 2000, 1, "z: 1"))])
    assert "f.yaml:2000:1: error: Wrong." in shown
    assert shown.count(": warning: ") == human.MOST_FINDINGS - 1
    assert shown.endswith("… and 800 more. `deploy validate --format json` has all of them.")


def test_findings_come_once_by_file_and_place() -> None:
    def at(file: str, row: int, column: int = 1) -> Diagnostic:
        return warning("Odd.", location=Location(file, row, column))

    mixed = [at("b", 2), at("a", 9), at("b", 1, 5), at("b", 1, 2), at("b", 2), error("No place.")]
    assert [str(d.location) for d in in_order(mixed)] == ["b:1:2", "b:1:5", "b:2:1", "a:9:1", "None"]
