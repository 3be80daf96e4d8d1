"""The page of `spid ui` in Gradio: fields, a button, and what came of it as HTML."""

from __future__ import annotations

import base64
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from methods.errors import SpidError, UsageError
from methods.files import write_bytes
from methods.shipped import is_pocket
from spatialid_cli.generate import new_folder
from spatialid_cli.playground import METRICS, Answer, Shown, Studio, Wish, lines_of

if TYPE_CHECKING:
    from gradio import Blocks

_FIRST = "a photo of a {person} at the beach\nan oil painting of a {person}"
_EMPTY = '<div class="empty">Choose somebody, write what to show, and press <b>Make</b>.</div>'
_FONTS = ("ui-sans-serif", "system-ui", "sans-serif")
_MONO = ("ui-monospace", "monospace")


def serve(studio: Studio, output: Path, port: int, ready: Callable[[str], object]) -> None:
    """Serve the page on the loopback address until it is interrupted. Photographs that are dropped on it are
    kept in a temporary folder that goes with it. Raises OSError when the port is taken."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = dropped = tempfile.mkdtemp(prefix="spid-ui-")
    page = build(studio, output)
    try:
        _, url, _ = page.launch(
            server_name="127.0.0.1",
            server_port=port or None,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            ssr_mode=False,
            footer_links=[],
            max_file_size="50mb",
            theme=_theme(),
            css_paths=[Path(__file__).with_name("page.css")],
        )
        ready(url)
        page.block_thread()
    finally:
        page.close(verbose=False)
        shutil.rmtree(dropped, ignore_errors=True)


def _theme() -> Any:
    """Quiet: labels are text, and every font is the reader's own, so that none is fetched from anywhere."""
    import gradio

    return gradio.themes.Soft(
        primary_hue="indigo", neutral_hue="slate", font=list(_FONTS), font_mono=list(_MONO)
    ).set(
        block_title_background_fill="none",
        block_title_background_fill_dark="none",
        block_title_padding="0",
        block_title_text_color="*body_text_color",
        block_title_text_color_dark="*body_text_color",
        block_title_text_weight="600",
        block_title_text_size="*text_sm",
        block_label_text_color="*body_text_color",
        block_label_text_color_dark="*body_text_color",
        block_label_background_fill="*background_fill_primary",
        block_label_background_fill_dark="*background_fill_primary",
        block_label_text_weight="600",
    )


def build(studio: Studio, output: Path) -> Blocks:
    """The page: who, what, how on the left, what came of it on the right."""
    import gradio as gr

    able, slow = studio.methods()
    rendered = is_pocket(studio.backbone().family)
    chosen = [name for name in ("none", "uniform", "spatialid") if name in able]

    shown_progress = gr.Progress()  # Gradio fills in the default of a parameter that is one

    def make(*values: Any, progress: Any = shown_progress) -> tuple[Any, ...]:
        try:
            made, words, folder = answer(
                studio, output, *values, progress=lambda share, text: progress(share, desc=text)
            )
        except SpidError as error:
            raise gr.Error(f"{error.message} {error.hint or ''}".strip(), duration=None) from error
        return made, gr.update(value=words, visible=True), gr.update(value=folder, visible=True)

    def draw(number: float | None) -> Any:
        return gr.update(value=None if number is None else str(rendered_person(int(number))))

    with gr.Blocks(title="spid", analytics_enabled=False) as page:
        gr.HTML(
            "<h1>spid</h1><p>One backbone, one sampling loop, the same noise: the method is the only thing "
            f"that differs. Backbone: {escape(studio.name)}.</p>",
            elem_id="head",
        )
        with gr.Row(equal_height=False):
            with gr.Column(scale=1, min_width=340):
                picture = gr.Image(
                    label="Who",
                    type="filepath",
                    sources=["upload", "clipboard"],
                    height=250,
                    elem_id="who",
                )
                with gr.Row(visible=rendered, elem_id="somebody"):
                    number = gr.Number(
                        7, label="or somebody rendered: number", precision=0, minimum=0, min_width=120
                    )
                    render = gr.Button("Render", min_width=100, elem_id="render")
                prompts = gr.Textbox(
                    _FIRST,
                    label="What: one prompt a line; {person} is the person",
                    lines=3,
                    elem_id="prompts",
                )
                names = gr.CheckboxGroup(
                    able,
                    value=chosen,
                    label="How",
                    info=f"{', '.join(slow)} learn the person first, which takes minutes." if slow else None,
                    elem_id="methods",
                )
                with gr.Row():
                    seed = gr.Number(0, label="First seed", precision=0, minimum=0, min_width=100)
                    images = gr.Slider(1, 4, value=1, step=1, label="Seeds", min_width=120)
                with gr.Accordion("More", open=False):
                    weight = gr.Slider(0, 2, value=1, step=0.05, label="Strength of the identity")
                    steps = gr.Number(None, label="Steps (empty: the backbone's)", precision=0, minimum=1)
                    guidance = gr.Number(None, label="Guidance (empty: the backbone's)", minimum=0)
                    negative = gr.Textbox("", label="What to avoid")
                    masks = gr.Checkbox(True, label="Masks, where a method has them")
                button = gr.Button("Make", variant="primary", size="lg", elem_id="make")
            with gr.Column(scale=3, min_width=480):
                result = gr.HTML(_EMPTY, elem_id="result")
                command = gr.Textbox(
                    label="The same from the command line",
                    lines=2,
                    interactive=False,
                    buttons=["copy"],
                    visible=False,
                    elem_id="command",
                )
                where = gr.Textbox(
                    label="Saved in", interactive=False, buttons=["copy"], visible=False, elem_id="where"
                )
        render.click(draw, number, picture, show_progress="hidden")
        button.click(
            make,
            [picture, prompts, names, seed, images, weight, steps, guidance, negative, masks],
            [result, command, where],
            show_progress_on=result,
            concurrency_limit=1,
        )
    return page


def rendered_person(number: int) -> Path:
    """The file of a pocket person, in the folder that goes with the page."""
    from methods.pocket.references import PLAIN, reference_png

    file = Path(os.environ["GRADIO_TEMP_DIR"]) / f"person-{number:04d}.png"
    write_bytes(file, reference_png(number, PLAIN, 0))
    return file


def answer(
    studio: Studio,
    output: Path,
    picture: str | None,
    prompts: str,
    names: Sequence[str],
    seed: float | None,
    images: float,
    weight: float,
    steps: float | None,
    guidance: float | None,
    negative: str,
    masks: bool,
    *,
    progress: Callable[[float, str], object] = lambda share, text: None,
) -> tuple[str, str, str]:
    """What the button does: HTML, command line, folder. Raises SpidError for what cannot be made."""
    if not names:
        raise UsageError("There is no method.", hint="Tick one.")
    folder = new_folder(output)
    reference = None
    if picture is not None:
        kept = Path(picture)
        reference = folder / "reference" / kept.name  # what was dropped goes with the page: this stays
        write_bytes(reference, kept.read_bytes())
    wish = Wish(
        prompts=lines_of(prompts),
        methods=tuple(names),
        reference=reference,
        seed=int(seed or 0),
        num_images=int(images),
        id_weight=float(weight),
        steps=None if steps is None else int(steps),
        guidance=None if guidance is None else float(guidance),
        negative_prompt=negative.strip(),
        save_masks=masks,
    )
    try:
        started = time.perf_counter()
        made = studio.make(wish, folder, progress)
    except BaseException:
        if not (folder / "table.csv").is_file():
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return html_of(made, reference, time.perf_counter() - started), made.command, str(folder)


# ------------------------------------------------------------- HTML
def html_of(answer: Answer, reference: Path | None, seconds: float) -> str:
    """Prompt by prompt and seed by seed: the reference, then every method. All words are escaped."""
    parts = []
    for (prompt, seed), group in groupby(answer.shown, key=lambda one: (one.made.prompt, one.made.seed)):
        row = list(group)
        best = _best(row, answer)
        cells = [] if reference is None else [_reference(reference)]
        cells += [_figure(one, answer, best) for one in row]
        parts.append(
            f"<section><h3>{escape(prompt)}<small>seed {seed}</small></h3>"
            f'<div class="row">{"".join(cells)}</div>{"".join(map(_masks, row))}</section>'
        )
    missing = "; ".join(f"{name}: {why}" for name, why in answer.unavailable.items())
    notes = [f"{len(answer.shown)} pictures in {seconds:.0f} s.", missing]
    parts.append(f'<p class="note">{escape(" ".join(filter(None, notes)))}</p>')
    return "".join(parts)


def _reference(file: Path) -> str:
    return (
        f'<figure class="reference"><img alt="reference" src="{_data(file)}">'
        "<figcaption><b>reference</b></figcaption></figure>"
    )


def _figure(one: Shown, answer: Answer, best: dict[str, float]) -> str:
    made = one.made
    shown = f'<div class="none">{escape(made.status)}</div>'
    if one.file is not None:
        shown = f'<img alt="{escape(made.method, quote=True)}" src="{_data(one.file)}">'
    lines = []
    for name in filter(one.scores.__contains__, METRICS):
        score = one.scores[name]
        title = escape(answer.cards[name].title)
        value = escape(score.status) if score.value is None else f"{score.value:.3f}"
        mark = ' class="best"' if score.value is not None and best.get(name) == score.value else ""
        lines.append(f'<tr title="{title}"><td>{escape(name)}</td><td{mark}>{value}</td></tr>')
    notes = "; ".join(f"{name}: {text}" for name, text in made.job["notes"].items())
    said = f'<p class="note">{escape(notes)}</p>' if notes else ""
    return (
        f"<figure>{shown}<figcaption><b>{escape(made.method)}</b>"
        f"<table>{''.join(lines)}</table>{said}</figcaption></figure>"
    )


def _masks(one: Shown) -> str:
    """Where a method let the identity act: layer by layer, step by step."""
    if one.masks is None:
        return ""
    picture = f'<img alt="masks" src="{_data(one.masks)}">'
    return f"<details open><summary>masks of {escape(one.made.method)}</summary>{picture}</details>"


def _best(row: Sequence[Shown], answer: Answer) -> dict[str, float]:
    """The better end of each metric in a row, where pictures differ in it."""
    values: dict[str, list[float]] = {}
    for one in row:
        for name, score in one.scores.items():
            if score.value is not None:
                values.setdefault(name, []).append(score.value)
    better = {"higher": max, "lower": min}
    return {
        name: better[answer.cards[name].direction](found)
        for name, found in values.items()
        if len(set(found)) > 1 and answer.cards[name].direction in better
    }


def _data(file: Path) -> str:
    kind = "jpeg" if file.suffix.lower() in (".jpg", ".jpeg") else file.suffix.lower().lstrip(".") or "png"
    return f"data:image/{kind};base64,{base64.b64encode(file.read_bytes()).decode()}"
