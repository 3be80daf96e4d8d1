"""The report in a real browser: drawn, sorted, filtered, reached by keyboard, and nothing escapes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from browser import Page, chromium, open_page
from synthetic_run import Plan, write_run
from test_report_page import EVIL, EVIL_PROMPTS

from benchmarks.report import write_report

PROBE = """
const said = [], say = (name, value) => said.push(`${name}=${value}`);
const $ = (selector) => document.querySelector(selector);
const all = (selector) => [...document.querySelectorAll(selector)];
const change = (id, value) => { $(id).value = value; $(id).dispatchEvent(new Event("change")); };
const key = (name) => new KeyboardEvent("keydown", { key: name, bubbles: true });
const press = (name) => document.activeElement.dispatchEvent(key(name));
const order = () => all("#board tbody tr").map((row) => row.dataset.method).join(",");

say("points", all("#scatter .point").length);
say("free", all("#scatter .free").length);
$('#board button[data-sort="id_sim"]').click();
say("best", order());
$('#board button[data-sort="id_sim"]').click();
say("worst", order());
say("sorted", $('#board th[data-metric="id_sim"]').ariaSort);
change("#baseline", "spatialid");
say("delta", $('#board tr[data-method="uniform"] .delta[data-metric="clip_t"]').className);
say("mine", $('#board tr[data-method="spatialid"] .delta[data-metric="clip_t"]').textContent);
say("hidden", $('#board th[data-metric="pose_div"]').hidden);
all(".tabs button")[1].click();
say("shown", !$('#board th[data-metric="pose_div"]').hidden);
change("#scatter-y", "leakage");
say("lower", $("#scatter").textContent.includes("Background leakage ↓"));
say("cells", all("#breakdown-table td").length);

say("rows", $("#count").textContent);
change("#filter-category", "View");
say("view", $("#count").textContent);
change("#filter-status", "failed");
const failed = all("#grid .row");
say("failed", failed.length > 0 && failed.every((row) => row.querySelector(".badge")));
$("#filters").reset();
setTimeout(() => {
  change("#sort-metric", "id_sim");
  const texts = all("#grid button.shot").map((shot) => shot.textContent);
  const values = texts.filter((text) => text.startsWith("spatialid")).map((text) => text.slice(9));
  const present = values.filter((text) => text !== "–").map(Number);
  say("ascending", present.length > 5 && present.every((value, i) => !i || present[i - 1] <= value));
  const shots = all("#grid button.shot");
  shots[0].focus();
  press("ArrowRight");
  say("focus", document.activeElement === shots[1]);
  press("ArrowDown");
  say("down", document.activeElement.closest(".row") === all("#grid .row")[1]);
  document.activeElement.click();
  say("open", $("#detail").open);
  say("named", $("#detail-title").textContent.length > 10);
  const before = $("#detail-body").textContent;
  press("ArrowRight");
  say("next", before !== $("#detail-body").textContent);
  $("#detail-close").click();
  say("closed", !$("#detail").open);
  say("gallery", all("#failure-gallery button.shot").length);
  $("#theme").click();
  say("theme", document.documentElement.dataset.theme);
  const embedded = (image) => image.src.startsWith("data:image/webp") && image.loading === "lazy";
  say("images", all("img").every(embedded));
  say("wide", document.documentElement.scrollWidth - document.documentElement.clientWidth);
  document.title = said.join(";");
});
"""


@pytest.fixture(scope="module")
def browser() -> str:
    return chromium()


@pytest.fixture(scope="module")
def report(browser: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = write_run(tmp_path_factory.mktemp("runs") / "ibench")
    return write_report([run], run / "report.html")


@pytest.mark.parametrize("width", [1280, 500])
def test_the_page_does_what_it_offers(report: Path, tmp_path: Path, width: int) -> None:
    page = open_page(report, tmp_path / "profile", PROBE, width=width)
    title, *_ = re.findall(r"<title>(.*?)</title>", page.html)
    said = dict(part.split("=", 1) for part in title.split(";"))
    assert page.console == ""
    assert said == {
        "points": "4",
        "free": "1",
        "best": "infinite-id,uniform,spatialid,facewise,none",
        "worst": "facewise,spatialid,uniform,infinite-id,none",
        "sorted": "ascending",
        "delta": "delta worse",
        "mine": "baseline",
        "hidden": "true",
        "shown": "true",
        "lower": "true",
        "cells": "28",
        "rows": "48 rows",
        "view": "6 rows",
        "failed": "true",
        "ascending": "true",
        "focus": "true",
        "down": "true",
        "open": "true",
        "named": "true",
        "next": "true",
        "closed": "true",
        "gallery": "16",
        "theme": "light",
        "images": "true",
        "wide": "0",
    }


def test_under_its_own_policy_the_page_draws_itself(report: Path, tmp_path: Path) -> None:
    page = open_page(report, tmp_path / "profile")
    assert page.console == ""
    assert page.html.count('class="point"') == 4
    assert page.html.count('class="row"') >= 12


def test_names_and_prompts_are_text(browser: str, tmp_path: Path) -> None:
    names = ("../../etc/passwd", f"anna {EVIL}", "😀" * 100)
    plan = Plan(prompts=EVIL_PROMPTS, names=names, suite=EVIL, methods=("none", "uniform"))
    run = write_run(tmp_path / "run", plan)
    page: Page = open_page(write_report([run], run / "report.html"), tmp_path / "profile")
    assert "<title>owned" not in page.html
    assert '<img src="x"' not in page.html
    assert "../../etc/passwd" in page.html
    assert page.console == ""


def test_what_gets_into_the_page_cannot_run(report: Path, tmp_path: Path) -> None:
    """Should escaping ever fail, the page's policy refuses what was smuggled in."""
    broken = report.read_text().replace("</main>", '<script>document.title="owned"</script></main>')
    (tmp_path / "broken.html").write_text(broken)
    page = open_page(tmp_path / "broken.html", tmp_path / "profile")
    assert "<title>owned" not in page.html
    assert "Content Security Policy" in page.console
