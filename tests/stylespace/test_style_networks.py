"""The W+ encoder in e4e's layout, and the decoder's modulated convolutions, against their equations."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from people import portrait
from PIL import Image

from methods.errors import MissingWeightsError, WeightsError
from methods.pidiff.stylespace.decoder import LAYERS, ModulatedConvolution, StyleDecoder
from methods.pidiff.stylespace.encoder import FFHQ_1024, POCKET, StyleEncoder, StyleShape
from methods.pidiff.stylespace.load import (
    load_decoder,
    load_style_space,
    random_style_space,
    save_style_space,
)

TINY = StyleShape(size=64, rows=10, dim=8, widths=(4, 6, 8, 12), units=(2, 1, 2, 1))

PUBLIC = {
    "input_layer.0.weight": (64, 3, 3, 3),
    "input_layer.2.weight": (64,),
    "body.0.res_layer.1.weight": (64, 64, 3, 3),
    "body.3.shortcut_layer.0.weight": (128, 64, 1, 1),
    "body.7.shortcut_layer.1.running_var": (256,),
    "body.23.res_layer.5.fc1.weight": (32, 512, 1, 1),
    "styles.0.convs.6.weight": (512, 512, 3, 3),
    "styles.3.convs.8.bias": (512,),
    "styles.17.convs.10.weight": (512, 512, 3, 3),
    "styles.17.linear.weight": (512, 512),
    "latlayer1.weight": (512, 256, 1, 1),
    "latlayer2.weight": (512, 128, 1, 1),
}
"""Names and shapes of e4e_ffhq_encode.pt's `encoder.*`, from the published network."""


def public_checkpoint(path: Path, shape: StyleShape = TINY, **changes: object) -> StyleEncoder:
    """A random checkpoint as e4e writes them: nested, with a decoder, options and the average code."""
    torch.manual_seed(1)
    encoder = StyleEncoder(shape).eval()
    state = {f"encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}
    state["decoder.input.input"] = torch.zeros(1, 512, 4, 4)
    average = torch.randn(shape.rows, shape.dim)
    torch.save({"state_dict": state, "latent_avg": average, "opts": {"stylegan_size": 64}, **changes}, path)
    return encoder


def test_layout_is_e4es() -> None:
    with torch.device("meta"):
        state = StyleEncoder(FFHQ_1024).state_dict()
    assert {name: tuple(state[name].shape) for name in PUBLIC} == PUBLIC
    assert "styles.17.convs.12.weight" not in state and "styles.0.convs.8.weight" not in state
    assert "body.24.res_layer.0.weight" not in state and "styles.18.linear.weight" not in state


def test_public_checkpoint_loads(tmp_path: Path) -> None:
    encoder = public_checkpoint(tmp_path / "e4e.pt")
    space = load_style_space(tmp_path / "e4e.pt")
    assert space.shape == TINY
    shown = portrait(3)
    crop = space.crop(shown.pixels, shown.landmarks)
    pixels = (torch.from_numpy(crop).permute(2, 0, 1)[None].float() - 127.5) / 127.5
    with torch.no_grad():
        expected = encoder(pixels)[0] + space.average
    code = space.encode_picture(Image.fromarray(shown.pixels), shown.landmarks)
    torch.testing.assert_close(code, expected)
    assert code.shape == (TINY.rows, TINY.dim)


def test_one_average_for_all_rows_is_repeated(tmp_path: Path) -> None:
    public_checkpoint(tmp_path / "e4e.pt", latent_avg=torch.arange(8.0))
    average = load_style_space(tmp_path / "e4e.pt").average
    assert torch.equal(average, torch.arange(8.0).expand(10, 8))


def test_rows_are_the_base_and_its_deltas() -> None:
    """w_i = w + delta_i: without deltas all rows are the base; row i reads its own features only."""
    torch.manual_seed(0)
    encoder = StyleEncoder(TINY).eval()
    pictures = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        codes = encoder(pictures)
        fine, mid, coarse = encoder._pyramid(pictures)
        assert [side.shape[-1] for side in (fine, mid, coarse)] == [16, 8, 4]
        base = encoder.styles[0](coarse)
        for row, features in ((2, coarse), (3, mid), (6, mid), (7, fine), (9, fine)):
            torch.testing.assert_close(codes[:, row], base + encoder.styles[row](features))
        for head in encoder.styles[1:]:
            head.linear.weight.zero_()
            head.linear.bias.zero_()
        flat = encoder(pictures)
    torch.testing.assert_close(flat, base[:, None].expand(-1, 10, -1))


def test_modulated_convolution_is_stylegan2s() -> None:
    """Equations 1 and 3 with the weights of every sample: w' = s w, w'' = w' / sqrt(sum w'^2 + eps)."""
    torch.manual_seed(0)
    layer = ModulatedConvolution(5, 7, dim=4, kernel=3)
    x, style = torch.randn(3, 5, 6, 6), torch.randn(3, 4)
    with torch.no_grad():
        found, s = layer(x, style), layer.affine(style)
        for sample in range(3):
            w = layer.weight * s[sample][None, :, None, None]
            w = w / (w.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()
            expected = F.conv2d(x[sample : sample + 1], w, padding=1)
            torch.testing.assert_close(found[sample : sample + 1], expected)


def test_decoder_rows_go_from_coarse_to_fine() -> None:
    """Every row matters, and the last ones cannot move anything but colours of single pixels."""
    torch.manual_seed(0)
    decoder = StyleDecoder(POCKET.dim)
    assert decoder.rows == POCKET.rows == sum(LAYERS.values()) == FFHQ_1024.rows
    codes = torch.randn(1, POCKET.rows, POCKET.dim)
    with torch.no_grad():
        picture = decoder(codes)
        assert picture.shape == (1, 3, 64, 64)
        changes = []
        for row in range(POCKET.rows):
            other = codes.clone()
            other[:, row] += 1
            changes.append((decoder(other) - picture).abs().mean())
    assert min(changes) > 0


def test_own_folder_round_trip(tmp_path: Path) -> None:
    space, decoder = random_style_space(seed=3), StyleDecoder(POCKET.dim)
    save_style_space(tmp_path, space, decoder, figures={"l1": 0.1})
    loaded = load_style_space(tmp_path)
    assert loaded.fingerprint == space.fingerprint and loaded.shape == POCKET
    codes = torch.randn(1, 18, POCKET.dim)
    with torch.no_grad():
        torch.testing.assert_close(load_decoder(tmp_path)(codes), decoder(codes))
    assert random_style_space(seed=4).fingerprint != space.fingerprint


def test_wrong_files_are_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("methods.pidiff.stylespace.load.pocket_dir", lambda: tmp_path)
    with pytest.raises(MissingWeightsError, match="pocket style encoder is missing") as missing:
        load_style_space()
    assert "scripts/train_pocket.py stylespace" in str(missing.value.hint)
    with pytest.raises(MissingWeightsError, match="config.json is missing"):
        load_style_space(tmp_path)
    torch.save({"state_dict": {"x": torch.zeros(1)}}, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match=r"other\.pt is no W\+ encoder"):
        load_style_space(tmp_path / "other.pt")
    public_checkpoint(tmp_path / "short.pt", latent_avg=torch.zeros(4, 8))
    with pytest.raises(WeightsError, match=r"latent_avg is \(4, 8\)"):
        load_style_space(tmp_path / "short.pt")
    encoder = public_checkpoint(tmp_path / "cut.pt")
    state = {
        f"encoder.{name}": tensor for name, tensor in encoder.state_dict().items() if "latlayer1" not in name
    }
    torch.save({"state_dict": state}, tmp_path / "cut.pt")
    with pytest.raises(WeightsError, match="lacks the tensor latlayer1.bias and 1 more"):
        load_style_space(tmp_path / "cut.pt")
