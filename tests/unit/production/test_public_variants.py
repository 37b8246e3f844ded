"""Ways of writing that occur in public production files: what can be used is, and what is said about it helps."""

from __future__ import annotations

from tests.unit.production.models import component, domain, found, layer, production


def test_a_domain_that_was_pruned_is_not_taken_for_the_one_that_names_it() -> None:
    model = production(domain("ND1", layer(1)), domain("ND3", sub=("ND1", "ND2")), component("a"))
    (finding,) = found(model, "No such network domain.")
    assert not finding.is_error
    assert finding.detail == "ND3 has 'ND2' inside it, which is not there."


def test_a_mistyped_domain_is_still_told() -> None:
    model = production(
        domain("edge", layer(1)), domain("cloud", layer(2)), domain("all", sub=("egde", "cloud")), component("a")
    )
    (finding,) = found(model, "No such network domain.")
    assert finding.detail.endswith("Did you mean 'edge'?")
