"""Random numbers belong to samples: neither batch nor process changes them."""

from __future__ import annotations

import torch

from methods.learning.draws import SampleRng, generator_seed


def test_a_sample_draws_the_same_in_any_company() -> None:
    whole = SampleRng(3, range(6))
    parts = [SampleRng(3, numbers, batch=6) for numbers in ((4, 5), (0, 1, 2, 3))]
    order = [4, 5, 0, 1, 2, 3]
    for draw in (
        lambda rng: rng.normal(2, 3),
        lambda rng: rng.uniform(),
        lambda rng: rng.integers(7, 2),
        lambda rng: rng.levels(),
    ):
        assert torch.equal(draw(whole)[order], torch.cat([draw(part) for part in parts]))


def test_shapes_and_ranges() -> None:
    rng = SampleRng(0, range(4))
    assert rng.normal(2, 3).shape == (4, 2, 3) and rng.uniform().shape == (4,)
    drawn = rng.integers(3, 50)
    assert drawn.shape == (4, 50) and set(drawn.unique().tolist()) == {0, 1, 2}


def test_levels_see_every_part_of_the_range_once_a_step() -> None:
    levels = SampleRng(1, range(16, 24), batch=8).levels()
    assert (levels * 8).floor().tolist() == list(range(8))
    assert not torch.equal(levels, SampleRng(2, range(16, 24), batch=8).levels())


def test_seeds_depend_on_every_number() -> None:
    seeds = {generator_seed(a, b) for a in range(10) for b in range(10)}
    assert len(seeds) == 100 and all(0 <= seed < 2**63 for seed in seeds)
