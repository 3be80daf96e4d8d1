"""`spid metrics`: lists, describes, imports no torch."""

from __future__ import annotations

import subprocess
import sys

from command import Spid

from benchmarks.metrics.catalogue import metrics


def test_all_metrics_are_listed(spid: Spid) -> None:
    shown = spid("metrics")
    assert shown.code == 0
    assert [line.split()[0] for line in shown.out.splitlines()[1:]] == list(metrics())


def test_a_card_says_what_is_measured_and_what_is_missing(spid: Spid) -> None:
    card = spid("metrics", "clip_i_scene")
    assert card.code == 0 and "how little the identity disturbs" in " ".join(card.out.split())
    assert "pocket dual encoder" in card.out and "available" in card.out
    posediv = spid("metrics", "ibench_posediv")
    assert "faults included" in posediv.out and "Use pose_diversity" in posediv.out


def test_json_has_no_infinities(spid: Spid) -> None:
    cards = spid("metrics", "all", "--json").json
    assert [card["name"] for card in cards] == list(metrics())
    fid = next(card for card in cards if card["name"] == "fid")
    assert fid["range"] == [0.0, None] and fid["available"] in (True, False)


def test_other_backbones_name_other_models(spid: Spid) -> None:
    assert "ViT-L-14" in spid("metrics", "clip_t", "--backbone-family", "sd1").out
    assert spid("metrics", "--backbone-family", "sd9").code == 2


def test_an_unknown_metric_is_misuse(spid: Spid) -> None:
    shown = spid("metrics", "clip")
    assert shown.code == 2 and "Did you mean 'clip_t'" in shown.err


def test_listing_imports_no_torch() -> None:
    code = (
        "import sys; from spatialid_cli.app import main; main(['metrics', '--json']);"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
