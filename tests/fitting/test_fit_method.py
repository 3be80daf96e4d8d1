"""What all fits share: the cache, --refit, determinism, progress, several people in one batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fitted import FITS, fit_method, job, person
from tiny import tiny_backbone, tiny_folder

from methods.backbone.load import load_backbone
from methods.errors import NonFiniteError, UsageError, WeightsError
from methods.fitting.method import identity_key
from methods.hooks import Identity
from methods.paths import cache_dir
from methods.sampling import sample


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPID_CACHE", str(tmp_path / "cache"))


def tokens(method, identity):
    return method.tokens(identity, tiny_backbone("sd1"))


def same(one, two) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("name", FITS)
def test_a_fit_is_made_once_and_found_again(name: str, tmp_path: Path) -> None:
    anna = person(tmp_path)
    told: list[tuple[str, int, int]] = []
    first = fit_method(name, tmp_path)
    first.progress = lambda *step: told.append(step)
    fitted = tokens(first, anna)
    assert told == [("anna", 1, 2), ("anna", 2, 2)]
    assert fitted["log.denoising"].shape == (2,)
    [file] = (cache_dir() / "fits" / name).iterdir()
    content = file.read_bytes()

    second = fit_method(name, tmp_path)
    second.progress = lambda *step: told.append(step)
    assert same(tokens(second, anna), fitted) and len(told) == 2

    second = fit_method(name, tmp_path)
    second.refit, second.progress = True, lambda *step: told.append(step)
    assert same(tokens(second, anna), fitted) and len(told) == 4
    assert file.read_bytes() == content


def test_the_cache_knows_person_options_and_backbone_apart(tmp_path: Path) -> None:
    anna, other = person(tmp_path), person(tmp_path, seed=1)
    method = fit_method("textual-inversion", tmp_path)
    word = tokens(method, anna)["word"]
    assert not torch.equal(word, tokens(method, other)["word"])
    assert not torch.equal(word, tokens(fit_method("textual-inversion", tmp_path, seed=1), anna)["word"])
    one, two = (
        fit_method("textual-inversion", tmp_path, family).describe_fit(anna, tiny_backbone(family))
        for family in ("sd1", "sd2")
    )
    assert one["backbone"] != two["backbone"]
    renamed = Identity("somebody else", anna.embedding, anna.pictures)
    assert identity_key(renamed) == identity_key(anna) != identity_key(other)


def test_a_damaged_cache_entry_is_fitted_again(tmp_path: Path) -> None:
    anna = person(tmp_path)
    fitted = tokens(fit_method("textual-inversion", tmp_path), anna)
    [file] = (cache_dir() / "fits" / "textual-inversion").iterdir()
    file.write_bytes(b"half a file")
    assert same(tokens(fit_method("textual-inversion", tmp_path), anna), fitted)
    assert len(file.read_bytes()) > 100


def test_an_interrupted_fit_leaves_nothing_and_changes_nothing(tmp_path: Path) -> None:
    backbone = tiny_backbone("sd1")
    processors = dict(backbone.denoiser.unet.attn_processors)
    method = fit_method("facewise", tmp_path)

    def interrupt(*step: object) -> None:
        raise KeyboardInterrupt

    method.progress = interrupt
    with pytest.raises(KeyboardInterrupt):
        tokens(method, person(tmp_path))
    assert not (cache_dir() / "fits").exists()
    assert all(backbone.denoiser.unet.attn_processors[name] is one for name, one in processors.items())


@pytest.mark.parametrize("name", FITS)
def test_two_people_share_a_batch_and_keep_their_own_words(name: str, tmp_path: Path) -> None:
    anna, ben = person(tmp_path), person(tmp_path, seed=1, name="ben")
    backbone, method = tiny_backbone("sd1"), fit_method(name, tmp_path)
    # fits of two steps hardly move: make what was learned unmistakable
    for seed, one in enumerate((anna, ben)):
        fitted = dict(method.tokens(one, backbone))
        learned = "tokens" if name == "facewise" else "word"
        noise = torch.randn(fitted[learned].shape, generator=torch.Generator().manual_seed(seed))
        method._tokens[id(one)] = (one, fitted | {learned: fitted[learned] + noise})
    jobs = [job(anna), job(None, seed=6), job(ben, prompt="person on the red beach", seed=7)]
    alone = [sample(backbone, [one], method)[0].latents for one in jobs]
    together = sample(backbone, jobs, method, batch_size=3)
    for one, result in zip(alone, together, strict=True):
        torch.testing.assert_close(one, result.latents, rtol=1e-3, atol=1e-3)
    plain = sample(backbone, [jobs[0], jobs[1]])
    assert torch.equal(alone[1], plain[1].latents)
    assert (alone[0] - plain[0].latents).abs().max() > 1e-3


def test_the_word_works_between_id_start_and_id_end_and_by_its_weight(tmp_path: Path) -> None:
    anna = person(tmp_path)
    backbone, method = tiny_backbone("sd1"), fit_method("textual-inversion", tmp_path)
    fitted = dict(method.tokens(anna, backbone))
    method._tokens[id(anna)] = (anna, fitted | {"word": fitted["word"] + 1})
    full, half, late, none = (
        sample(backbone, [job(anna, **changes)], method)[0].latents
        for changes in ({}, {"id_weight": 0.5}, {"id_start": 0.6}, {"id_weight": 0.0})
    )
    distances = [(one - none).norm() for one in (late, half, full)]
    assert 0 < distances[0] < distances[2] and 0 < distances[1] < distances[2]


@pytest.mark.parametrize("name", FITS)
def test_fits_travel_in_a_folder_and_need_no_picture_there(name: str, tmp_path: Path) -> None:
    anna = person(tmp_path)
    method = fit_method(name, tmp_path)
    fitted = tokens(method, anna)
    method.save(tmp_path / "fits")
    loaded = type(method).load(tmp_path / "fits", tiny_backbone("sd1"))
    assert loaded.config == method.config
    loaded.progress = lambda *step: pytest.fail("fitted again")
    assert same(tokens(loaded, anna), fitted)
    with pytest.raises(WeightsError, match="sd2"):
        type(method).load(tmp_path / "fits", tiny_backbone("sd2"), method.config)


def test_who_cannot_be_fitted_is_told_so(tmp_path: Path) -> None:
    backbone = tiny_backbone("sd1")
    with pytest.raises(UsageError, match="nobody has no reference picture"):
        fit_method("textual-inversion", tmp_path).tokens(Identity("nobody"), backbone)
    with pytest.raises(UsageError, match="no face embedding"):
        anna = person(tmp_path)
        fit_method("id-ea", tmp_path).tokens(Identity("anna", None, anna.pictures), backbone)
    with pytest.raises(UsageError, match="no list of celebrities for sd1"):
        from methods.id_ea.method import IDEA

        IDEA.load(None, backbone).tokens(anna, backbone)
    with pytest.raises(UsageError, match="no place for the word"):
        fit_method("textual-inversion", tmp_path).check_prompt("the red beach", backbone)


def test_a_fit_that_diverges_stops(tmp_path: Path) -> None:
    method = fit_method("textual-inversion", tmp_path, steps=5)
    object.__setattr__(method.config, "rate", 1e30)  # beyond what options may be
    with pytest.raises(NonFiniteError, match="not finite at step"):
        tokens(method, person(tmp_path))


@pytest.mark.parametrize("name", FITS)
def test_fits_run_in_bfloat16_with_modules_that_visit_the_device(name: str, tmp_path: Path) -> None:
    low = load_backbone(tiny_folder("sdxl"), device="cpu", dtype="bfloat16", cpu_offload=True)
    method = fit_method(name, tmp_path, "sdxl")
    fitted = method.tokens(person(tmp_path), low)
    learned = fitted["tokens" if name == "facewise" else "word"]
    assert learned.dtype == torch.float32 and torch.isfinite(learned).all()
    assert low.offload and low.denoiser.unet.dtype == low.vae.dtype == torch.bfloat16


def test_a_cross_initialised_word_starts_at_the_celebrities(tmp_path: Path) -> None:
    method = fit_method("textual-inversion", tmp_path, init="celebrity", anchor=1e-5, rate=1e-9)
    fitted = tokens(method, person(tmp_path))
    torch.testing.assert_close(fitted["word"], method.initial(tiny_backbone("sd1")), rtol=1e-4, atol=1e-5)
    assert fitted["word"].shape == (2, 32) and "log.anchor" in fitted
