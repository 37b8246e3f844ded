"""Findings as GitHub and GitLab show them beside the lines of a change."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.cli.main import main
from orchestrator.cli.views import annotations
from orchestrator.diagnostics import Location, error, note, warning

PLACE = Location("app/a,b:c.yaml", 7, 3, "name: x")


def test_github_gets_one_command_a_finding_with_everything_escaped() -> None:
    found = [
        error("Wrong.", "100% of it,\r\nso: mend it", location=PLACE),
        warning("Odd.", location=Location("a.yaml", 1, 1)),
        note("So it is.", "Nothing to do."),
    ]
    assert annotations.render_github(found).split("\n") == [
        "::error file=app/a%2Cb%3Ac.yaml,line=7,col=3,title=Wrong.::100%25 of it,%0D%0Aso: mend it",
        "::warning file=a.yaml,line=1,col=1,title=Odd.::Odd.",
        "::notice title=So it is.::Nothing to do.",
    ]


def test_gitlab_gets_a_report_whose_fingerprints_tell_findings_apart() -> None:
    twice = warning("Odd.", "It is.", location=Location("a.yaml", 4, 1, "x: 1"))
    report = json.loads(annotations.render_gitlab([error("Wrong.", "Mend it.", location=PLACE), twice, twice]))
    assert report[0] | {"fingerprint": ""} == {
        "description": "Wrong. Mend it.",
        "check_name": "Wrong",
        "fingerprint": "",
        "severity": "major",
        "location": {"path": "app/a,b:c.yaml", "lines": {"begin": 7}},
    }
    assert len({one["fingerprint"] for one in report}) == 3


def test_a_fingerprint_stays_when_the_line_moves() -> None:
    here, there = (warning("Odd.", "It is.", location=Location("a.yaml", line, 1, "x: 1")) for line in (4, 40))
    assert (
        json.loads(annotations.render_gitlab([here]))[0]["fingerprint"]
        == (json.loads(annotations.render_gitlab([there]))[0]["fingerprint"])
    )


def test_paths_are_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "app").mkdir()
    file = tmp_path / "app" / "production.yaml"
    file.write_text("System: {nmae: x}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for given in ("app/production.yaml", str(file)):
        assert main(["validate", given, "--format", "github"]) == 2
        assert "::error file=app/production.yaml,line=1,col=" in capsys.readouterr().out
    assert main(["compile", "app/production.yaml", "-o", "out", "--format", "gitlab"]) == 2
    report = json.loads(capsys.readouterr().out)
    assert {one["location"]["path"] for one in report} == {"app/production.yaml"}
