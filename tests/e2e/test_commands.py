"""The commands that touch nothing, and bad input: clear errors, the right exit code, never a traceback."""

from __future__ import annotations

import html
from pathlib import Path

import pytest

from tests.e2e.command_line import EXAMPLE, Cli, small

PRODUCTION = EXAMPLE / "production.yaml"


def test_validate_says_that_the_example_is_valid(cli: Cli) -> None:
    assert "is valid: 0 errors, 0 warnings." in cli.run("validate", PRODUCTION).stdout


def test_compile_writes_the_same_bytes_twice_and_its_plan_is_the_plan_of_the_file(cli: Cli) -> None:
    for folder in ("one", "two"):
        cli.run("compile", PRODUCTION, "-o", folder)
    first, second = (sorted(p for p in (cli.folder / f).rglob("*") if p.is_file()) for f in ("one", "two"))
    assert [p.relative_to(cli.folder / "one") for p in first] == [p.relative_to(cli.folder / "two") for p in second]
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    template = cli.folder / "one" / "mask-detection.yaml"
    of_template = cli.json("plan", template, "--rehearse", "--json")
    of_file = cli.json("plan", PRODUCTION, "--rehearse", "--json")
    assert of_template == of_file
    assert "is valid" in cli.run("validate", template).stdout


def test_plan_changes_and_starts_nothing(cli: Cli) -> None:
    shown = cli.run("plan", PRODUCTION, "--rehearse", "--detailed-exitcode", expect=3).stdout
    assert "to create" in shown
    assert "Substituted in this deployment" in shown
    assert not (cli.folder / ".deploy").exists()


def test_a_saved_plan_is_refused_when_it_is_damaged(cli: Cli) -> None:
    cli.run("plan", PRODUCTION, "--rehearse", "--out", "plan.json")
    plan = cli.folder / "plan.json"
    plan.write_text(plan.read_text(encoding="utf-8")[:2000] + '"continuum-deploy plan"', encoding="utf-8")
    assert "damaged" in cli.run("apply", plan, "--auto-approve", expect=2).stderr


@pytest.mark.parametrize(("form", "holds"), [("dot", "digraph"), ("mermaid", "flowchart"), ("svg", "<svg")])
def test_graph(cli: Cli, form: str, holds: str) -> None:
    shown = cli.run("graph", PRODUCTION, "--format", form).stdout
    assert holds in shown
    assert "mask-detector" in html.unescape(shown).replace("\u2011", "-")


def test_apply_outside_a_rehearsal_names_what_this_version_does_not_have_and_touches_nothing(cli: Cli) -> None:
    done = cli.run("apply", PRODUCTION, "--auto-approve", expect=2)
    assert "openstack" in done.stderr
    assert "--rehearse" in done.stderr


def test_apply_without_a_terminal_needs_auto_approve(cli: Cli) -> None:
    assert "--auto-approve" in cli.run("apply", PRODUCTION, "--rehearse", expect=2).stderr


def test_rehearsal_options_need_a_rehearsal(cli: Cli) -> None:
    assert "--rehearse" in cli.run("plan", PRODUCTION, "--k3s", "standin", expect=2).stderr


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "does not exist"),
        (b"", "empty"),
        (b"\xff\xfe\x00\x01 not text", "utf-8"),
        (b"System: [unclosed\n", "yaml"),
        (b"- a\n- list\n", "mapping"),
    ],
)
def test_what_is_no_production_file_is_named_as_what_it_is(cli: Cli, content: bytes | None, says: str) -> None:
    file = cli.folder / "production.yaml"
    if content is not None:
        file.write_bytes(content)
    for command in (("validate", file), ("plan", file, "--rehearse"), ("apply", file, "--rehearse", "--auto-approve")):
        done = cli.run(*command, expect=2)
        shown = done.stdout + done.stderr
        assert str(file) in shown
        assert says in shown.lower(), shown


def test_a_cycle_is_told_with_its_place(cli: Cli, application: Path) -> None:
    dag = application / "application_dag.yaml"
    text = dag.read_text(encoding="utf-8")
    before = "[[blurry-faces, mask-detector, 1]]"
    assert before in text
    after = "[[blurry-faces, mask-detector, 1], [mask-detector, blurry-faces, 1]]"
    dag.write_text(text.replace(before, after), encoding="utf-8")
    shown = cli.run("validate", application / "production.yaml", expect=2).stdout
    assert "application_dag.yaml:" in shown
    assert "circle" in shown or "cycle" in shown


def test_a_resource_that_is_not_there_is_told_with_its_place_and_a_suggestion(cli: Cli, application: Path) -> None:
    file = application / "production.yaml"
    text = file.read_text(encoding="utf-8").replace("ExecutionResource: RaspPi", "ExecutionResource: RasPi")
    file.write_text(text, encoding="utf-8")
    line = next(n for n, t in enumerate(text.splitlines(), 1) if ": RasPi" in t)
    shown = cli.run("validate", file, expect=2).stdout
    assert f"production.yaml:{line}:" in shown
    assert "RaspPi" in shown


def test_trusted_execution_is_refused_outside_a_rehearsal_and_on_record_inside(cli: Cli, application: Path) -> None:
    file = small(application)
    edge, cloud = file.read_text(encoding="utf-8").split("name: CloudVM\n")
    first, second = cloud.split("name: mask-detector\n")
    second = second.replace("trustedExecution: false", "trustedExecution: true")
    for sgx, expect in (("false", 2), ("true", 0)):
        machine = first.replace("SGXFlag: false", f"SGXFlag: {sgx}")
        file.write_text(f"{edge}name: CloudVM\n{machine}name: mask-detector\n{second}", encoding="utf-8")
        refused = "" if expect == 0 else "There is no enclave to run in."
        assert refused in cli.run("plan", file, "--rehearse", expect=expect).stderr
    assert "trustedExecution" in cli.run("plan", file, expect=2).stderr
    assert "unshielded" in cli.run("plan", file, "--rehearse").stdout


def test_an_engine_that_was_named_and_does_not_answer_is_one_clear_error(tmp_path: Path) -> None:
    cli = Cli(tmp_path, {"DOCKER_HOST": f"unix://{tmp_path}/nobody.sock"})
    done = cli.run("apply", PRODUCTION, "--rehearse", "--auto-approve", expect=1)
    assert "container engine" in done.stderr.lower()
    assert "DOCKER_HOST" in done.stderr


def test_names_that_are_not_there(cli: Cli) -> None:
    for command in (("status", "nobody"), ("manifest", "nobody"), ("destroy", "nobody", "--auto-approve"), ("status",)):
        assert "There is no" in cli.run(*command, expect=2).stderr


def test_help_and_version(cli: Cli) -> None:
    assert cli.run("--version").stdout.startswith("deploy 0.")
    listed = cli.run("--help").stdout
    assert all(name in listed for name in ("validate", "compile", "plan", "apply", "invoke", "destroy"))
    cli.run("nonsense", expect=2)
    cli.run(expect=0)


def state_file(cli: Cli, name: str, content: str) -> Path:
    file = cli.folder / ".deploy" / "shop-rehearsal" / "state" / name
    file.parent.mkdir(mode=0o700, parents=True)
    file.write_text(content, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("content", "says"),
    [('{"schema": 99}', "newer version"), ('{"schema": 1, "state": {"dep', "snapshot.json"), ("", "snapshot.json")],
)
def test_a_state_that_cannot_be_read_is_named_and_left_as_it_is(cli: Cli, content: str, says: str) -> None:
    file = state_file(cli, "snapshot.json", content)
    for command in (("status",), ("manifest",), ("destroy", "--auto-approve")):
        shown = cli.run(*command, expect=1).stderr
        assert says in shown
        assert "→" in shown, "it says what to do"
    assert file.read_text(encoding="utf-8") == content
