"""Which base is taken, and that its tag follows its recipe."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.images import base_image
from orchestrator.images.build_container import recipe_digest


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ID=debian\nVERSION_CODENAME=trixie\n", ("debian", "trixie")),
        ('ID=ubuntu\nVERSION_CODENAME="noble"\n', ("ubuntu", "noble")),
        ('ID=fedora\nVERSION_CODENAME=""\n', ("debian", "bookworm")),
    ],
)
def test_the_base_follows_the_machine(tmp_path: Path, text: str, expected: tuple[str, str]) -> None:
    file = tmp_path / "os-release"
    file.write_text(text, encoding="utf-8")
    assert base_image.base_release(file) == expected


def test_a_changed_recipe_has_another_digest() -> None:
    assert recipe_digest("a", ("b",)) == recipe_digest("a", ("b",))
    assert recipe_digest("a", ("b",)) != recipe_digest("a", ("c",))


def test_neither_registry_nor_bootstrap_is_a_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(base_image, "engine_architecture", lambda: "amd64")
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(base_image.BaseImageError) as caught:
        base_image._bootstrap("bookworm", "0123", lambda _: None)
    assert "mmdebstrap" in caught.value.resolution
