"""`spid methods`."""

from __future__ import annotations

from command import Spid

from methods.registry import method_names


def test_every_registered_method_is_listed(spid: Spid) -> None:
    assert [card["name"] for card in spid("methods", "--json").json] == method_names()
    shown = spid("methods").out
    assert all(name in shown for name in method_names())


def test_a_card_says_paper_source_licence_and_equations(spid: Spid) -> None:
    card = spid("methods", "uniform", "--json").json
    shown = spid("methods", "uniform").out
    for key in ("title", "paper", "status", "licence"):
        assert card[key] in shown
    assert card["equations"].strip().splitlines()[0].strip() in shown
