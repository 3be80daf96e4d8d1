"""What is shown while a run is at work."""

from __future__ import annotations

import io

import pytest

from benchmarks.live import _HEADLINES, Left, LiveTable, Observer, PlainLines, clock, printable
from benchmarks.metrics.catalogue import metrics
from benchmarks.schema import Row


def row(method: str, value: float | None, status: str = "ok", identity: str | None = None) -> Row:
    return Row("0" * 64, method, identity, "p", "x", "", "s", 0, status=status, metrics={"clip_t": value})


def feed(observer: Observer) -> None:
    with observer:
        observer.begin({"none": (4, 2), "uni\n\x1b[2Jform": (2, 0)}, ["clip_t", "id_sim"])
        observer.sampled("none", 2, 4.0)
        observer.recorded([row("none", 0.2), row("none", 0.4)])
        observer.recorded([row("uni\n\x1b[2Jform", None, "no_face_gen")])


def test_means_rates_and_counts() -> None:
    observer = Observer()
    feed(observer)
    none, uniform = observer.tallies.values()
    assert (none.done, none.total, none.rate, none.bad) == (4, 4, 0.5, 0)
    assert none.mean("clip_t") == pytest.approx(0.3) and none.mean("id_sim") is None
    assert (uniform.done, uniform.bad, uniform.mean("clip_t"), uniform.rate) == (1, 1, None, None)
    assert observer.columns == ["id_sim", "clip_t"]
    assert observer.left("none") is None and none.pace is not None
    uniform.spent = 3.0
    assert observer.left() == observer.left(*observer.tallies) == Left(3.0)  # one of two is done


def test_time_left_counts_the_fits_to_come(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    observer = Observer(hands=2)
    observer.begin(
        {"none": (4, 0), "facewise": (4, 0), "id-ea": (2, 0)},
        ["clip_t"],
        {"facewise": {"ann", "ben"}, "id-ea": {"ann"}},
    )
    assert observer.left() is None
    now = 4.0
    observer.recorded([row("none", 0.2)] * 4)
    assert observer.left() == Left(6 * 1.0 / 2, more=True)  # six rows at a second each, fits nobody knows
    for done in range(1, 6):
        now += 10.0
        observer.fitting("facewise", "ann", done, 11)
    # a fit of facewise takes 110 s, of which 5 of 11 steps are done; id-ea's are not known
    assert observer.left("facewise") == Left((4 * 1.0 + 2 * 110.0 - 50.0) / 2)
    assert str(observer.left()) == "over 1 min 28 s left"
    for done in range(6, 12):
        now += 10.0
        observer.fitting("facewise", "ann", done, 11)
    now += 6.0
    observer.recorded([row("facewise", 0.2, identity="ann")] * 2)
    assert observer.tallies["facewise"].pace == pytest.approx((6.0 + 0.0) / 2, abs=0.1)
    observer.elsewhere("facewise", 1, ["ben"])
    observer.elsewhere("id-ea", 2, ["ann"])
    left = observer.left()
    assert left is not None and left.seconds == pytest.approx(3.0 / 2) and not left.more


def test_headlines_are_metrics() -> None:
    assert {*_HEADLINES} <= {*metrics("pocket")}


def test_plain_lines_have_no_control_characters() -> None:
    stream = io.StringIO()
    feed(PlainLines(stream, label="[1/2] "))
    lines = stream.getvalue().splitlines()
    assert all(line.startswith("[1/2] ") and line.isprintable() for line in lines)
    assert lines[0] == "[1/2] 2/6 samples; none 2/4"


def test_time_left_before_the_first_row_is_that_of_the_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    observer = Observer(hands=2)
    observer.begin({"none": (4, 0), "id-ea": (2, 0)}, ["clip_t"], {"id-ea": {"ann", "ben"}})
    observer.fitting("id-ea", "ann", 1, 11)
    assert observer.left() is None  # how long a step takes is not known
    now = 10.0
    observer.fitting("id-ea", "ann", 2, 11)
    assert observer.left() == Left((2 * 110.0 - 20.0) / 2, more=True)


def test_a_fit_is_told_until_it_is_done() -> None:
    stream = io.StringIO()
    lines = PlainLines(stream)
    with lines:
        lines.begin({"facewise": (1, 0)}, ["clip_t"])
        for done in (1, 2, 3):
            lines._last = -float("inf")  # as if the last line were long ago
            lines.fitting("facewise", "ann\x1b", done, 3)
    first, second, last = stream.getvalue().splitlines()[1:]
    assert first == "0/1 samples; facewise fits ann\\x1b: 1/3 steps"
    assert second == "0/1 samples; facewise fits ann\\x1b: 2/3 steps, 0 s left"
    assert last == "0/1 samples"


def test_a_table_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    table = LiveTable()
    feed(table)
    from rich.console import Console

    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(table._table())
    shown = console.export_text()
    assert "4/4" in shown and "0.50" in shown and "0.300" in shown and "uni\\n\\x1b[2Jform" in shown
    capsys.readouterr()


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.4, "4 s"), (59.6, "1 min 00 s"), (3599, "59 min 59 s"), (7630, "2 h 07 min")]
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_printable() -> None:
    assert printable("多重 é <b> \u2028\r\n\udc80") == "多重 é <b> \\u2028\\r\\n\\udc80"
