"""Exports on disk: whose files they are, who may read them, and where secrets come from."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml

from orchestrator.cli.main import main
from orchestrator.errors import DeployError, InvalidInputError, UsageError
from orchestrator.production.dialects.settings import ExportSettings
from orchestrator.services.compile import ForeignFileError, write_compiled
from orchestrator.services.export import GivenSecretMissingError, NoProductionFileError, write_export
from orchestrator.services.load import LoadedTopology, load_topology
from orchestrator.state.secret_store import open_secrets

CASE = Path(__file__).parents[2] / "golden" / "dialects" / "every-layer"
GIVEN = (
    "gateway-access",
    "not-a-secret-gateway-store",
    "not-a-key-front",
    "not-a-key-worker1",
    "not-a-key-worker2",
    "lambda-access",
    "not-a-secret-lambda",
)
AUTH = """id = one; type = OpenNebula; host = one.example.org; username = u; password = not-a-password
# off
type = InfrastructureManager; username = u; password = p
"""


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("DEPLOY_HOME", str(tmp_path / "home"))


@pytest.fixture
def application(tmp_path: Path) -> Path:
    """An application with every type of layer; returns its production file."""
    folder = tmp_path / "application"
    folder.mkdir()
    for name in ("production.yaml", "application_dag.yaml", "physical_nodes.yaml"):
        shutil.copy(CASE / name, folder)
    (folder / "im").mkdir()
    (folder / "im" / "auth.dat").write_text(AUTH, encoding="utf-8")
    text = (folder / "physical_nodes.yaml").read_text(encoding="utf-8")
    for machine in ("front", "worker1", "worker2"):
        (folder / f"key-{machine}").write_text(f"-----BEGIN KEY-----\n{machine}\n", encoding="utf-8")
        text = text.replace(f"not-a-key-{machine}", f"key-{machine}")
    (folder / "physical_nodes.yaml").write_text(text, encoding="utf-8")
    return folder / "production.yaml"


def written(path: Path, folder: Path, dialect: str = "im", **more: object) -> dict[str, str]:
    settings = more.pop("settings", ExportSettings())
    assert isinstance(settings, ExportSettings)
    paths, _ = write_export(load_topology(path), folder, dialect, settings, **more)  # type: ignore[arg-type]
    return {p.name: p.read_text(encoding="utf-8") for p in paths}


@pytest.mark.parametrize("dialect", ["im", "fdl"])
def test_no_secret_is_in_an_export(application: Path, tmp_path: Path, dialect: str) -> None:
    files = written(application, tmp_path / "out", dialect, settings=ExportSettings(elastic=3))
    text = "".join(files.values())
    for secret in (*GIVEN, "not-a-password", "-----BEGIN"):
        assert secret not in text
    assert not (tmp_path / "home").exists()


def test_a_second_run_changes_nothing(application: Path, tmp_path: Path) -> None:
    written(application, tmp_path / "out")
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns, p.stat().st_ino) for p in (tmp_path / "out").iterdir()}
    written(application, tmp_path / "out")
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns, p.stat().st_ino) for p in (tmp_path / "out").iterdir()} == before


def test_secrets_are_resolved_for_their_owner_only_and_stay_the_same(application: Path, tmp_path: Path) -> None:
    settings = ExportSettings(elastic=3)
    references = written(application, tmp_path / "out", settings=settings)
    first = written(application, tmp_path / "private", settings=settings, with_secrets=True)
    assert (tmp_path / "private").stat().st_mode & 0o777 == 0o700
    assert {p.stat().st_mode & 0o777 for p in (tmp_path / "private").iterdir()} == {0o600}
    assert "secret:" not in "".join(first.values())
    second = written(application, tmp_path / "again", settings=settings, with_secrets=True)
    assert second == first
    assert set(first) == set(references)

    store = open_secrets("every-layer")
    names = set(re.findall(r"secret:(im-[a-z0-9-]+)", "".join(references.values()))) - {"im-auth"}
    assert names
    values = {name: store.get(name) for name in names}
    assert all(values.values())
    inputs = yaml.safe_load(first["detect.yaml"])["topology_template"]["inputs"]
    assert inputs["minio_password"]["default"] == values["im-detect-minio-password"]
    nodes = yaml.safe_load(first["guard.yaml"])["topology_template"]["node_templates"]
    assert nodes["front"]["capabilities"]["os"]["properties"]["credential"]["token"] == "-----BEGIN KEY-----\nfront\n"
    nodes = yaml.safe_load(first["detect.yaml"])["topology_template"]["node_templates"]
    (keys,) = nodes["oscar_service_detect"]["properties"]["storage_providers"]["s3"].values()
    assert (keys["access_key"], keys["secret_key"]) == ("lambda-access", "not-a-secret-lambda")
    assert nodes["elastic_cluster_front_end"]["properties"]["im_auth"] == (
        "id = one; type = OpenNebula; host = one.example.org; username = u; password = not-a-password"
        "\\ntype = InfrastructureManager; username = u; password = p"
    )


def test_given_secrets_are_not_kept(application: Path, tmp_path: Path) -> None:
    written(application, tmp_path / "private", with_secrets=True)
    kept = "".join(open_secrets("every-layer").values())
    assert kept
    for secret in (*GIVEN, "-----BEGIN", "not-a-password"):
        assert secret not in kept


def test_a_given_secret_that_is_nowhere_is_an_error(application: Path, tmp_path: Path) -> None:
    nodes = application.parent / "physical_nodes.yaml"
    nodes.write_text(nodes.read_text(encoding="utf-8").replace("secret_key: not-a-secret-lambda", ""), encoding="utf-8")
    with pytest.raises(GivenSecretMissingError) as refused:
        written(application, tmp_path / "private", with_secrets=True)
    assert "aws.secret_key of 'Lambda' in physical_nodes.yaml" in refused.value.detail
    assert list((tmp_path / "private").iterdir()) == []


def test_a_key_file_that_is_not_there_is_an_error(application: Path, tmp_path: Path) -> None:
    (application.parent / "key-worker2").unlink()
    with pytest.raises(GivenSecretMissingError, match="A secret is not there") as refused:
        written(application, tmp_path / "private", with_secrets=True)
    assert "wns[1].ssh_key" in refused.value.detail


def test_a_folder_open_to_others_gets_no_secrets(application: Path, tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    with pytest.raises(UsageError, match="The folder is open to others"):
        written(application, tmp_path / "open", with_secrets=True)
    assert list((tmp_path / "open").iterdir()) == []


def test_the_token_of_the_top_is_read_from_a_file(application: Path, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("not-a-token\n", encoding="utf-8")
    settings = ExportSettings(influx_url="https://influx.example.org", influx_token=True)
    plain = written(application, tmp_path / "out", settings=settings, token_file=token)
    inputs = yaml.safe_load(plain["detect.yaml"])["topology_template"]["inputs"]
    assert inputs["top_influx_url"]["default"] == "https://influx.example.org"
    assert inputs["top_influx_token"]["default"] == "secret:im-top-influx-token"
    resolved = written(application, tmp_path / "private", settings=settings, token_file=token, with_secrets=True)
    inputs = yaml.safe_load(resolved["detect.yaml"])["topology_template"]["inputs"]
    assert inputs["top_influx_token"]["default"] == "not-a-token"


def test_what_a_file_does_not_hold_is_looked_for_in_the_store(application: Path, tmp_path: Path) -> None:
    nodes = application.parent / "physical_nodes.yaml"
    nodes.write_text(nodes.read_text(encoding="utf-8").replace("secret_key: not-a-secret-lambda", ""), encoding="utf-8")
    open_secrets("every-layer").put("layer4-lambda-functions-store-key", "not-a-secret-of-the-store")
    template = yaml.safe_load(written(application, tmp_path / "private", with_secrets=True)["detect.yaml"])
    function = template["topology_template"]["node_templates"]["oscar_service_detect"]
    (keys,) = function["properties"]["storage_providers"]["s3"].values()
    assert keys["secret_key"] == "not-a-secret-of-the-store"


def test_a_stored_reference_is_followed(application: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_secrets("every-layer").assign("im-detect-minio-password", "env:MINIO_PASSWORD")
    with pytest.raises(DeployError, match="A secret is not there"):
        written(application, tmp_path / "private", with_secrets=True)
    monkeypatch.setenv("MINIO_PASSWORD", "a-password-from-outside")
    template = yaml.safe_load(written(application, tmp_path / "private", with_secrets=True)["detect.yaml"])
    assert template["topology_template"]["inputs"]["minio_password"]["default"] == "a-password-from-outside"


OTHERS = (
    "description: mine\n",
    "",
    "# Written by `deploy compile --dialect im` for the deployment another; compiling again overwrites it.\n",
    "# Written by `deploy compile --dialect fdl` for the deployment every-layer; compiling again overwrites it.\n",
)


@pytest.mark.parametrize("content", OTHERS)
def test_a_foreign_file_is_not_overwritten(application: Path, tmp_path: Path, content: str) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "sum-up.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(ForeignFileError, match="somebody else"):
        written(application, folder)
    assert [p.name for p in folder.iterdir()] == ["sum-up.yaml"]
    assert (folder / "sum-up.yaml").read_text(encoding="utf-8") == content


def test_a_link_is_not_followed(application: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    written(application, folder)
    (folder / "sum-up.yaml").rename(tmp_path / "elsewhere.yaml")
    (folder / "sum-up.yaml").symlink_to(tmp_path / "elsewhere.yaml")
    with pytest.raises(ForeignFileError):
        written(application, folder)


def test_other_files_stay(application: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "infras.yaml").write_text("{}\n", encoding="utf-8")
    written(application, folder)
    assert (folder / "infras.yaml").read_text(encoding="utf-8") == "{}\n"


def test_a_template_cannot_be_exported(tmp_path: Path) -> None:
    loaded: LoadedTopology = load_topology(CASE / "production.yaml")
    template, *_ = write_compiled(loaded, tmp_path / "compiled")
    with pytest.raises(NoProductionFileError):
        written(template, tmp_path / "out")


@pytest.mark.parametrize(
    ("lost", "summary"),
    [
        ("        fe_node:", "A physical machine is missing."),
        ("          bucket: every-layer\n", "A bucket is not known."),
    ],
)
def test_what_an_export_needs_is_asked_for(application: Path, tmp_path: Path, lost: str, summary: str) -> None:
    nodes = application.parent / "physical_nodes.yaml"
    text = nodes.read_text(encoding="utf-8")
    assert lost in text
    nodes.write_text(text.replace(lost, "        other:" if lost.endswith("node:") else ""), encoding="utf-8")
    with pytest.raises(InvalidInputError) as refused:
        written(application, tmp_path / "out")
    assert summary in {d.summary for d in refused.value.diagnostics}
    assert all(d.location for d in refused.value.diagnostics)
    assert not (tmp_path / "out").exists()


def test_a_store_must_be_known_only_to_those_who_send_to_it(application: Path, tmp_path: Path) -> None:
    nodes = application.parent / "physical_nodes.yaml"
    text = nodes.read_text(encoding="utf-8")
    nodes.write_text(text.replace("endpoint: https://minio.gateway.example.org", ""), encoding="utf-8")
    _, findings = write_export(load_topology(application), tmp_path / "out", "im", ExportSettings())
    assert [(d.summary, d.is_error) for d in findings] == [("An object store is not known.", False)]
    template = yaml.safe_load((tmp_path / "out" / "sense.yaml").read_text(encoding="utf-8"))
    variables = template["topology_template"]["node_templates"]["oscar_service_sense"]["properties"]["env_variables"]
    assert variables["KCI"] == template["topology_template"]["inputs"]["cluster_name"]["default"]

    dag = application.parent / "application_dag.yaml"
    changed = dag.read_text(encoding="utf-8").replace("[sense, guard, 1]", "[guard, sense, 1]")
    dag.write_text(changed, encoding="utf-8")
    with pytest.raises(InvalidInputError) as refused:
        write_export(load_topology(application), tmp_path / "other", "im", ExportSettings())
    (finding,) = refused.value.diagnostics
    assert "'guard' sends its results to 'sense'" in finding.detail
    assert finding.location


def test_components_on_one_cluster_that_is_there_share_its_store(application: Path, tmp_path: Path) -> None:
    text = application.read_text(encoding="utf-8")
    before, mark, after = text.partition("      name: guard\n")
    after = after.replace("executionLayer: 2", "executionLayer: 1", 1).replace(
        "trustedExecution: true", "trustedExecution: false", 1
    )
    after = after.replace("selectedExecutionResource: Rack", "selectedExecutionResource: Gateway", 1)
    application.write_text(before + mark + after, encoding="utf-8")
    template = yaml.safe_load(written(application, tmp_path / "out")["sense.yaml"])
    function = template["topology_template"]["node_templates"]["oscar_service_sense"]["properties"]
    assert function["output"] == [{"path": "sense/output", "storage_provider": "minio"}]
    assert "storage_providers" not in function


def test_the_command_writes_one_file_per_component(
    application: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["compile", str(application), "--dialect", "im", "-o", str(tmp_path / "im")]
    url = "http://127.0.0.1:9/types.yaml"
    assert main([*arguments, "--types-url", url, "--domain", "example.org", "--elastic", "4"]) == 0
    names = ["sense", "guard", "detect", "sum-up", "notify", "archive"]
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "im" / f"{name}.yaml") for name in names]
    template = yaml.safe_load((tmp_path / "im" / "detect.yaml").read_text(encoding="utf-8"))
    assert template["imports"] == [{"grycap_custom_types": url}]
    assert template["topology_template"]["inputs"]["domain_name"]["default"] == "example.org"
    assert template["topology_template"]["inputs"]["max_wn_num"]["default"] == 4


def test_secrets_are_not_printed(application: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["compile", str(application), "--dialect", "fdl", "-o", str(tmp_path / "fdl"), "--with-secrets"]
    assert main(arguments) == 0
    shown = "".join(capsys.readouterr())
    for value in (*open_secrets("every-layer").values(), *GIVEN):
        assert value not in shown


def test_options_of_an_export_need_one(application: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", str(application), "-o", str(tmp_path / "out"), "--with-secrets"]) == 2
    assert "These options need an export." in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_program_gets_the_findings_of_an_export(
    application: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes = application.parent / "physical_nodes.yaml"
    nodes.write_text(nodes.read_text(encoding="utf-8").replace("bucket: every-layer", ""), encoding="utf-8")
    arguments = ["compile", str(application), "--dialect", "im", "-o", str(tmp_path / "out"), "--format", "json"]
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert '"A bucket is not known."' in shown.out
    assert shown.err == ""
