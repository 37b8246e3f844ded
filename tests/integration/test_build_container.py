"""Building images by running steps: what is kept, what is not, and how it fails."""

from __future__ import annotations

import io
import tarfile
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from docker.models.containers import Container

from orchestrator.clients.engine import connect, engine_architecture, list_images
from orchestrator.errors import CancelledError, ProviderError
from orchestrator.images.base_image import ensure_base_image, ensure_machine_image
from orchestrator.images.build_container import BUILD_LABEL, ImageBuildError, Step, build_image, find_image
from orchestrator.images.build_inputs import ReadOnlyMount
from orchestrator.images.component import ImageMaker, repository

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def base() -> str:
    return ensure_base_image(connect())


@pytest.fixture
def tag() -> Iterator[str]:
    tag = f"continuum-test/build:{uuid.uuid4().hex[:8]}"
    yield tag
    if find_image(connect(), tag):
        connect().images.remove(tag, force=True)
    assert builders(tag) == []


def builders(tag: str) -> list[Container]:
    return connect().containers.list(all=True, filters={"label": f"{BUILD_LABEL}={tag}"})


def output(image: str, *command: str) -> str:
    # Read after its end: an engine that is followed while it writes may lose a last line without an end of line.
    container = connect().containers.run(image, list(command), detach=True, network_mode="none")
    try:
        status = container.wait(timeout=60)["StatusCode"]
        text: str = container.logs().decode().strip()
    finally:
        container.remove(force=True)
    assert status == 0, text
    return text


def test_steps_and_files_are_kept_and_this_machines_configuration_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, base: str, tag: str
) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "main.py").write_text("print('hello')\n", encoding="ascii")
    monkeypatch.setenv("https_proxy", "http://user:word@proxy.example:3128")
    seen: list[str] = []
    image = build_image(
        connect(),
        base,
        [
            Step(
                "looking around",
                'test -s "$PIP_CERT"; test -s "$APT_CONFIG"; test "$https_proxy"; test -e /given/main.py',
            ),
            Step("writing", 'echo "$COLOUR" > /made', {"COLOUR": "green"}),
        ],
        tag,
        labels={"continuum.component": 'a "quoted" name'},
        mounts=[ReadOnlyMount(tmp_path / "source", "/given")],
        copy_in={"/opt/app": tmp_path / "source", "/opt/note.txt": b"note"},
        changes=['CMD ["python3", "/opt/app/main.py"]'],
        progress=seen.append,
    )
    assert seen == ["looking around", "writing"]
    assert output(tag) == "hello"
    assert output(tag, "cat", "/made", "/opt/note.txt") == "green\nnote"
    # Whether there is a build-folders beside build-inputs depends on this machine's pip configuration.
    assert output(tag, "sh", "-c", "find /run/build-* /given -type f") == ""
    found = connect().images.get(image)
    assert found.attrs["Config"]["Env"] == connect().images.get(base).attrs["Config"]["Env"]
    assert found.attrs["Config"]["Entrypoint"] is None
    assert found.labels["continuum.component"] == 'a "quoted" name'
    assert "proxy.example" not in str(found.attrs) + str(found.history())


def test_a_base_with_an_entry_point_keeps_it(base: str, tag: str) -> None:
    middle = build_image(connect(), base, [], tag, changes=['ENTRYPOINT ["echo", "from"]', 'CMD ["base"]'])
    build_image(connect(), middle, [Step("nothing", "true")], tag)
    assert output(tag) == "from base"


def test_a_failing_step_shows_the_end_of_its_output_without_credentials(base: str, tag: str) -> None:
    step = Step("fetching", "echo 'cannot reach https://me:word@mirror.example/x'; exit 7")
    with pytest.raises(ImageBuildError) as caught:
        build_image(connect(), base, [step], tag)
    assert "'fetching' ended with 7" in caught.value.detail
    assert "https://***@mirror.example/x" in caught.value.detail
    assert find_image(connect(), tag) is None


def test_a_step_that_hangs_is_ended(base: str, tag: str) -> None:
    with pytest.raises(ImageBuildError, match="took longer than 1 s"):
        build_image(connect(), base, [Step("waiting", "sleep 60", timeout=1)], tag)


def test_a_stop_is_heeded_between_steps(base: str, tag: str) -> None:
    cancel = Event()
    ran: list[str] = []

    def progress(line: str) -> None:
        ran.append(line)
        cancel.set()

    steps = [Step("first", "true"), Step("second", "true")]
    with pytest.raises(CancelledError):
        build_image(connect(), base, steps, tag, progress=progress, cancel=cancel)
    assert ran == ["first"]


def test_what_a_killed_build_left_is_no_obstacle(base: str, tag: str) -> None:
    name = f"continuum-build-{tag.replace('/', '-').replace(':', '-')}"
    connect().containers.create(base, ["sleep", "60"], name=name, labels={BUILD_LABEL: tag}, network_mode="none")
    build_image(connect(), base, [Step("nothing", "true")], tag)
    assert find_image(connect(), tag) is not None


def test_images_that_are_there_cost_nothing() -> None:
    def never(line: str) -> None:
        pytest.fail(f"built again: {line}")

    first = ensure_machine_image(connect())
    assert ensure_machine_image(connect(), never) == first
    assert output(first, "sh", "-c", "ls /etc/ssh/ssh_host_* 2>/dev/null || echo none") == "none"


@pytest.fixture
def component() -> Iterator[str]:
    name = f"dockerfile-{uuid.uuid4().hex[:8]}"
    yield name
    made = connect().images.list(repository(name))
    for image in sorted(made, key=lambda i: str(i.attrs["Created"]), reverse=True):
        for tag in image.tags:
            connect().images.remove(tag)


def test_a_dockerfile_of_the_component_is_built_and_its_failure_shows_the_end_of_its_output(
    tmp_path: Path, base: str, component: str
) -> None:
    (tmp_path / "main.py").write_text("print('hello')\n", encoding="ascii")
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text("ARG BASE\nFROM $BASE\nCOPY main.py /copied.py\n", encoding="ascii")
    maker = ImageMaker(connect(), engine_architecture())
    made = maker.from_sources(component, tmp_path, "")
    assert output(made.reference, "python3", "/copied.py") == "hello"

    dockerfile.write_text("ARG BASE\nFROM $BASE\nCOPY nowhere.py /copied.py\n", encoding="ascii")
    with pytest.raises(ProviderError, match=r"(?s)Dockerfile: The engine gave it up\..*nowhere.py"):
        maker.from_sources(component, tmp_path, "")


def test_images_are_listed_while_others_come_and_go(tag: str) -> None:
    """Images of one deployment are removed at the same time, and each removal looks for earlier ones."""
    client, label, name = connect(), f"continuum.test={uuid.uuid4().hex}", tag.replace(":", "-")

    def make_and_remove() -> None:
        for number in range(40):
            content = io.BytesIO()
            with tarfile.open(fileobj=content, mode="w") as archive:
                archive.addfile(tarfile.TarInfo(f"number-{number}"))
            client.api.import_image_from_data(content.getvalue(), name, changes=[f"LABEL {label}"])
            client.images.remove(name)

    with ThreadPoolExecutor() as pool:
        other = pool.submit(make_and_remove)
        seen = set()
        while not other.done():
            seen |= {image.id for image in list_images(client, [label])}
        other.result()
    assert len(seen) > 1
    assert list_images(client, [label]) == []
