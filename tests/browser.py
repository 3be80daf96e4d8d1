"""Headless Chromium, where there is one: the page after its script ran, and whether the script complained."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


class Page(NamedTuple):
    """The document as HTML, and what the console said."""

    html: str
    console: str


def chromium() -> str:
    """Path of the browser; the test is skipped without one."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("no Chromium on this machine")
    return found


def open_page(file: Path, profile: Path, probe: str = "", *, width: int = 1280) -> Page:
    """Open a local file and read it back after its script has run.

    probe: a script that a copy of the page runs at its end; it may write to `document.title`
    """
    if probe:
        text = file.read_text(encoding="utf-8")
        policy = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
        file = profile.parent / "probed.html"
        file.write_text(policy.sub("", text).replace("</body>", f"<script>{probe}</script></body>"), "utf-8")
    command = [
        chromium(), "--headless=new", "--disable-gpu", "--no-first-run", "--disable-extensions",
        f"--user-data-dir={profile}", f"--window-size={width},900", "--virtual-time-budget=4000",
        "--enable-logging=stderr", "--dump-dom", file.as_uri(),
    ]  # fmt: skip
    if os.geteuid() == 0:
        command.insert(1, "--no-sandbox")  # Chromium refuses to run as root with it
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    return Page(done.stdout, "\n".join(re.findall(r".*CONSOLE.*", done.stderr)))
