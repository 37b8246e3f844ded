"""What exports take from the files beside a production file."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from orchestrator.production.dialects.companions import read_companions
from orchestrator.production.load import load_production
from orchestrator.production.model import QosConstraint

CASE = Path(__file__).parents[3] / "golden" / "dialects" / "every-layer"


@pytest.fixture
def production(tmp_path: Path) -> Path:
    for name in ("production.yaml", "application_dag.yaml", "physical_nodes.yaml"):
        shutil.copy(CASE / name, tmp_path)
    return tmp_path / "production.yaml"


def test_without_a_dag_the_application_has_the_systems_name(production: Path) -> None:
    loaded = load_production(production)
    assert loaded.model is not None
    assert read_companions(loaded, loaded.model).application == "every-layer"
    (production.parent / "application_dag.yaml").unlink()
    loaded = load_production(production)
    assert loaded.model is not None
    assert (
        read_companions(replace(loaded, model=None), replace(loaded.model, name="Other One")).application == "other-one"
    )


def test_constraints_of_a_level_win_and_others_have_the_general_ones(production: Path) -> None:
    text = "system: {{name: my_app, local_constraints: {{c1: {{component_name: sense, threshold: {}}}}}}}\n"
    (production.parent / "qos_constraints.yaml").write_text(text.format(5), encoding="utf-8")
    (production.parent / "qos_constraints_L2.yaml").write_text(text.format(7), encoding="utf-8")
    loaded = load_production(production)
    assert loaded.model is not None
    companions = read_companions(loaded, loaded.model)
    assert companions.monitored == "my-app"
    system = yaml.safe_load(companions.constraints_of(2))["system"]
    assert system == {"name": "my-app", "local_constraints": {"c1": {"component_name": "sense", "threshold": 7}}}
    assert yaml.safe_load(companions.constraints_of(1))["system"]["local_constraints"]["c1"]["threshold"] == 5


def test_constraints_that_stand_in_no_level_file_come_from_the_model(production: Path) -> None:
    loaded = load_production(production)
    assert loaded.model is not None
    place = loaded.model.place
    constraints = (
        QosConstraint("a", ("sense",), 3.0, is_global=False, place=place),
        QosConstraint("b", ("sense", "guard"), 9.0, is_global=True, place=place, layer=2),
    )
    companions = read_companions(loaded, replace(loaded.model, constraints=constraints))
    local = {"local_constraint_1": {"component_name": "sense", "threshold": 3.0}}
    second = yaml.safe_load(companions.constraints_of(2))["system"]
    assert second["local_constraints"] == local
    assert second["global_constraints"] == {
        "global_constraint_2": {"path_components": ["sense", "guard"], "threshold": 9.0}
    }
    assert yaml.safe_load(companions.constraints_of(1))["system"]["global_constraints"] == {}


def test_without_constraints_there_is_no_text(production: Path) -> None:
    loaded = load_production(production)
    assert loaded.model is not None
    assert read_companions(loaded, loaded.model).constraints_of(1) == ""


def test_secret_values_are_not_kept(production: Path) -> None:
    loaded = load_production(production)
    assert loaded.model is not None
    assert "not-a" not in repr(read_companions(loaded, loaded.model))
