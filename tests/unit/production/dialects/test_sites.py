"""Names of clusters and images in exports."""

from __future__ import annotations

import pytest

from orchestrator.production.dialects.sites import cluster_name, lower_image


def test_a_cluster_has_the_same_name_every_time() -> None:
    assert cluster_name("mask-detection", "blurry-faces") == cluster_name("mask-detection", "blurry-faces")
    names = {cluster_name(a, c) for a in ("one", "two") for c in ("x", "y")}
    assert len(names) == 4
    assert all(name.startswith("oscar-cluster-") and len(name) == 22 for name in names)


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("Registry.Example.org/Team/App:V1", "registry.example.org/team/app:V1"),
        ("Registry.example.org:5000/Team/App", "registry.example.org:5000/team/app"),
        ("Registry.example.org:5000/Team/App:Latest", "registry.example.org:5000/team/app:Latest"),
        ("Team/App:V1@sha256:AbC", "team/app:V1@sha256:AbC"),
        ("app", "app"),
    ],
)
def test_an_images_name_is_in_lower_case_and_its_tag_is_not_touched(written: str, wanted: str) -> None:
    assert lower_image(written) == wanted
