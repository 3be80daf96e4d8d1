"""Words of A1111 and diffusers, as those programs write them; and ours, as diffusers reads it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from command import Spid
from people import somebody
from safetensors.torch import load_file, save_file
from tiny import tiny_backbone, tiny_folder

from methods.errors import UsageError, WeightsError
from methods.faces import load_encoder
from methods.hooks import Identity
from methods.identify import identify
from methods.textual_inversion.config import Config
from methods.textual_inversion.files import read_embedding, write_embedding
from methods.textual_inversion.method import TextualInversion

ROWS = torch.arange(12.0).reshape(2, 6)


def a1111(path: Path) -> None:
    torch.save(
        {
            "string_to_token": {"*": 265},
            "string_to_param": {"*": torch.nn.Parameter(ROWS)},
            "name": "anna",
            "step": 500,
            "sd_checkpoint": None,
            "sd_checkpoint_name": None,
        },
        path,
    )


def test_a1111(tmp_path: Path) -> None:
    a1111(tmp_path / "anna.pt")
    assert torch.equal(read_embedding(tmp_path / "anna.pt", [6]), ROWS)
    save_file({"emb_params": ROWS}, tmp_path / "anna.safetensors")
    assert torch.equal(read_embedding(tmp_path / "anna.safetensors", [6]), ROWS)


@pytest.mark.parametrize("second", ["clip_g", "t5"])
def test_two_encoders(tmp_path: Path, second: str) -> None:
    save_file(
        {second: ROWS[:, 2:].contiguous(), "clip_l": ROWS[:, :2].contiguous()}, tmp_path / "a.safetensors"
    )
    assert torch.equal(read_embedding(tmp_path / "a.safetensors", [2, 4]), ROWS)


def test_diffusers_has_one_row_without_an_axis(tmp_path: Path) -> None:
    torch.save({"<anna>": ROWS[0]}, tmp_path / "learned_embeds.bin")
    assert torch.equal(read_embedding(tmp_path / "learned_embeds.bin", [6]), ROWS[:1])


def test_wrong_files(tmp_path: Path) -> None:
    save_file({"a": ROWS, "b": ROWS + 1}, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match="not a textual-inversion file; it holds a, b"):
        read_embedding(tmp_path / "a.safetensors", [6])
    save_file({"emb_params": ROWS}, tmp_path / "b.safetensors")
    with pytest.raises(WeightsError, match="encoders of width 6; this backbone's have 768"):
        read_embedding(tmp_path / "b.safetensors", [768])
    save_file({"emb_params": ROWS / 0}, tmp_path / "c.safetensors")
    with pytest.raises(WeightsError, match="finite"):
        read_embedding(tmp_path / "c.safetensors", [6])
    save_file({"clip_l": ROWS, "clip_g": ROWS[:1].clone()}, tmp_path / "d.safetensors")
    with pytest.raises(WeightsError, match="2 and 1 rows"):
        read_embedding(tmp_path / "d.safetensors", [6, 6])
    save_file({"emb_params": ROWS[None]}, tmp_path / "e.safetensors")
    with pytest.raises(WeightsError, match="shape"):
        read_embedding(tmp_path / "e.safetensors", [6])


@pytest.mark.parametrize("form", ["diffusers", "a1111"])
@pytest.mark.parametrize("widths", [[6], [2, 4]])
def test_what_is_written_is_read(tmp_path: Path, form: str, widths: list[int]) -> None:
    write_embedding(tmp_path / "a.safetensors", ROWS, widths, token="<anna>", form=form)  # type: ignore[arg-type]
    assert torch.equal(read_embedding(tmp_path / "a.safetensors", widths), ROWS)


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="safetensors"):
        write_embedding(tmp_path / "a.pt", ROWS, [6], token="<anna>")


def test_diffusers_reads_ours(tmp_path: Path) -> None:
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(tiny_folder("sd1"), local_files_only=True)
    (width,) = {pipeline.text_encoder.get_input_embeddings().embedding_dim}
    word = torch.randn(2, width, generator=torch.Generator().manual_seed(1))
    write_embedding(tmp_path / "anna.safetensors", word, [width], token="<anna>")
    pipeline.load_textual_inversion(str(tmp_path / "anna.safetensors"))
    ids = pipeline.tokenizer.convert_tokens_to_ids(["<anna>", "<anna>_1"])
    assert torch.equal(pipeline.text_encoder.get_input_embeddings().weight[ids], word)


def test_a_word_of_another_program_speaks_as_diffusers_speaks_it(tmp_path: Path) -> None:
    """The text features of the method are those of diffusers' pipeline with the same file and its token."""
    from diffusers import StableDiffusionPipeline

    backbone = tiny_backbone("sd1")
    width = backbone.text.models[0].get_input_embeddings().embedding_dim
    torch.save({"<anna>": torch.randn(width, generator=torch.Generator().manual_seed(1))}, tmp_path / "a.bin")
    method = TextualInversion.load(tmp_path / "a.bin", backbone)
    somebody = Identity("anna")
    spoken = method.speak("a photo of a person", method.tokens(somebody, backbone), backbone)
    assert spoken is not None

    pipeline = StableDiffusionPipeline.from_pretrained(tiny_folder("sd1"), local_files_only=True)
    pipeline.load_textual_inversion(str(tmp_path / "a.bin"))
    with torch.inference_mode():
        expected, _ = pipeline.encode_prompt("a photo of a <anna>", "cpu", 1, False)
    assert torch.equal(spoken.key, expected)
    assert method.identity_fingerprint(somebody, backbone) is not None


@pytest.mark.parametrize("form", ["diffusers", "a1111"])
def test_export_writes_what_a_fit_learned(spid: Spid, tmp_path: Path, form: str) -> None:
    """For a backbone with two text encoders; `--adapter` speaks the file as the fit itself speaks."""
    person = somebody(1).pictures[0]
    asked = (
        "--backbone", tiny_folder("sdxl"), "--face-encoder", "pocket", "--set", "steps=2", "--set", "rows=2",
    )  # fmt: skip
    file = tmp_path / "anna.safetensors"
    flags = ("--id", f"anna={person}", *asked, "--format", form, "--output", file, "--json")
    made = spid("export", *flags)
    assert made.code == 0, made.err
    assert made.json["rows"] == 2 and made.json["token"] == "anna"
    state = load_file(file)
    assert {name: tuple(one.shape) for name, one in state.items()} == {"clip_l": (2, 32), "clip_g": (2, 32)}
    backbone = tiny_backbone("sdxl")
    told = TextualInversion.load(file, backbone).tokens(Identity("anna"), backbone)["word"]
    fitted = TextualInversion(Config(steps=2, rows=2))
    identity = identify("anna", person, load_encoder("pocket"))
    assert torch.equal(told, fitted.tokens(identity, backbone)["word"])  # found in the cache


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--method", "uniform"), "uniform fits nobody"),
        (("--format", "webui"), "--format webui"),
        (("--output", "a.pt"), "written as .safetensors"),
        (("--token", "a b"), "not one word"),
        (("--method", "facewise", "--set", "steps=1"), "learns more than a word"),
    ],
)
def test_export_says_what_it_cannot_write(spid: Spid, flags: tuple[str, ...], message: str) -> None:
    refused = spid("export", "--reference", somebody(1).pictures[0], *flags)
    assert refused.code == 2 and message in refused.err, refused.err
