"""The example's components on drawn pictures, run as programs as their images run them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[3] / "examples" / "mask-detection"


def run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLE / program), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def draw(target: Path, people: int, masked: int, seed: int) -> Path:
    done = run("make_picture.py", target, "--people", people, "--masked", masked, "--seed", seed)
    assert done.returncode == 0, done.stderr
    return target


@pytest.mark.parametrize(("people", "masked", "seed"), [(0, 0, 1), (1, 1, 2), (4, 2, 1), (6, 5, 3)])
def test_faces_are_found_blurred_and_classified(tmp_path: Path, people: int, masked: int, seed: int) -> None:
    picture = draw(tmp_path / "invoke-0badcafe-people.png", people, masked, seed)
    assert picture.stat().st_size < 30_000
    assert run("src/blurry-faces/main.py", "-i", picture, "-o", tmp_path).returncode == 0
    blurred = tmp_path / "invoke-0badcafe-people-blurred.png"
    assert run("src/mask-detector/main.py", "-i", blurred, "-o", tmp_path).returncode == 0
    result = json.loads((tmp_path / "invoke-0badcafe-people-masks.json").read_text())
    assert (result["faces"], result["masked"], result["unmasked"]) == (people, masked, people - masked)
    assert (tmp_path / "invoke-0badcafe-people-masks.png").is_file()


def test_a_blurred_face_shows_no_eyes(tmp_path: Path) -> None:
    from PIL import Image

    picture = draw(tmp_path / "people.png", 1, 0, 1)
    run("src/blurry-faces/main.py", "-i", picture, "-o", tmp_path)
    with Image.open(picture) as before, Image.open(tmp_path / "people-blurred.png") as after:
        box = json.loads(after.info["faces"])[0]
        whites = [image.convert("L").crop(box).histogram()[245:] for image in (before, after)]
        assert sum(whites[0]) > 20
        assert sum(whites[1]) == 0
        corner = (0, 0, 40, 40)
        assert before.convert("RGB").crop(corner).tobytes() == after.convert("RGB").crop(corner).tobytes()


def test_the_same_seed_draws_the_same_picture(tmp_path: Path) -> None:
    first, second = (draw(tmp_path / name, 3, 1, 7).read_bytes() for name in ("a.png", "b.png"))
    assert first == second


def test_what_is_no_picture_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    done = run("src/blurry-faces/main.py", "-i", tmp_path / "text.png", "-o", tmp_path)
    assert done.returncode == 1
    assert "text.png is no picture" in done.stderr


def test_a_picture_that_was_not_blurred_is_refused(tmp_path: Path) -> None:
    done = run("src/mask-detector/main.py", "-i", draw(tmp_path / "raw.png", 1, 0, 1), "-o", tmp_path)
    assert done.returncode == 1
    assert "no picture from blurry-faces" in done.stderr


def test_more_masks_than_people_are_refused(tmp_path: Path) -> None:
    assert run("make_picture.py", tmp_path / "x.png", "--people", 1, "--masked", 2).returncode == 2
