"""The text stream: untouched, shared by identities, kept in memory and on disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from people import somebody
from tiny import Hooked, tiny_backbone

from methods.backbone.backbone import Backbone
from methods.errors import SpidError
from methods.hooks import Attachment, Job, Run
from methods.infinite_id.attention import TwoStreams
from methods.infinite_id.config import Config
from methods.infinite_id.method import InfiniteID
from methods.infinite_id.text_stream import StreamInMemory, TextStreams, stream_bytes
from methods.sampling import sample

A, B, C = (somebody(number, name) for number, name in ((1, "a"), (2, "b"), (3, "c")))
JOB = Job("photo of the person", 64, 64, guidance=4.0, seed=5, steps=3, identity=A)
JOBS = [JOB, replace(JOB, identity=B, prompt="the red beach", seed=6), replace(JOB, identity=C)]


@contextmanager
def rows_seen(backbone: Backbone) -> Iterator[list[int]]:
    """Rows of every U-Net call made inside."""
    rows: list[int] = []
    handle = backbone.denoiser.unet.register_forward_pre_hook(
        lambda module, inputs: rows.append(len(inputs[0]))
    )
    try:
        yield rows
    finally:
        handle.remove()


def latents(
    backbone: Backbone, jobs: list[Job], batch_size: int = 1, **options: object
) -> list[torch.Tensor]:
    method = InfiniteID.untrained(backbone, Config(**options))
    return [result.latents for result in sample(backbone, jobs, method, batch_size=batch_size)]


def test_watching_the_text_stream_does_not_change_it():
    backbone = tiny_backbone("sd1")
    [plain], [watched] = sample(backbone, [JOB]), sample(backbone, [JOB], Hooked(StreamInMemory(0)))
    assert torch.equal(plain.latents, watched.latents)


def test_text_rows_of_a_batch_are_the_plain_backbones():
    backbone = tiny_backbone("sd2")
    watcher = StreamInMemory(0)
    sample(backbone, [JOB], Hooked(watcher))
    site = [site for site in backbone.sites if site.kind == "self"][-1]
    method = InfiniteID.untrained(backbone, Config(text_stream="batch"))

    class Spy(TwoStreams):
        def keys_values(self, where, step, query, key, value):
            if where == site:
                expected, _ = watcher.read(step.index, site)
                start = step.rows.uncond_of("text").start
                torch.testing.assert_close(key[start:], expected, rtol=1e-4, atol=1e-4)
                seen.append(step.rows.total)
            return super().keys_values(where, step, query, key, value)

    seen: list[int] = []
    tokens = [method.tokens(one, backbone)["tokens"] for one in (A, C)]
    spy = Spy(method.adapter, [JOB, JOBS[2]], tokens, method._unknown(backbone), method.config, None)
    sample(backbone, [JOB, JOBS[2]], Hooked(spy), batch_size=2)
    assert seen == [6, 6, 6]  # two identities and the text stream they share, each with its unconditional row


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_wherever_the_text_stream_runs_pictures_are_the_same(family):
    backbone = tiny_backbone(family)
    expected = latents(backbone, JOBS, text_stream="memory")
    on_disk = latents(backbone, JOBS, text_stream="disk")
    again = latents(backbone, JOBS, text_stream="disk")
    for one, two, three in zip(expected, on_disk, again, strict=True):
        assert torch.equal(one, two) and torch.equal(one, three)
    for where in ("batch", "memory"):
        for one, two in zip(expected, latents(backbone, JOBS, 3, text_stream=where), strict=True):
            torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)


def test_identities_share_one_text_stream():
    backbone = tiny_backbone("sd1")
    with rows_seen(backbone) as rows:
        latents(backbone, JOBS, text_stream="memory")
    assert rows == [2] * 3 * (2 + 3)  # two text streams, three identities, one at a time
    with rows_seen(backbone) as rows:
        latents(backbone, JOBS, 3, text_stream="batch")
    assert rows == [2 * (3 + 2)] * 3
    with rows_seen(backbone) as rows:
        latents(backbone, JOBS, 3, attention="none")
    assert rows == [6] * 3


def test_what_was_kept_does_not_change_a_picture():
    backbone = tiny_backbone("sd1")
    method = InfiniteID.untrained(backbone)
    first = [sample(backbone, [job], method)[0].latents for job in JOBS]
    alone = latents(backbone, JOBS[2:])[0]
    assert torch.equal(first[2], alone)


def test_noise_of_its_own():
    backbone = tiny_backbone("sd1")
    [shared], [apart] = latents(backbone, [JOB]), latents(backbone, [JOB], shared_noise=False)
    [beside] = latents(backbone, [JOB], shared_noise=False, text_stream="batch")
    assert not torch.allclose(shared, apart, atol=1e-2)
    torch.testing.assert_close(apart, beside, rtol=1e-4, atol=1e-4)


def test_an_idle_job_in_the_batch_is_the_plain_backbones():
    backbone = tiny_backbone("sd2")
    jobs = [JOB, replace(JOBS[1], id_weight=0.0), replace(JOBS[2], identity=None)]
    method = InfiniteID.untrained(backbone, Config(text_stream="batch"))
    made = sample(backbone, jobs, Hooked(method.attach(backbone, jobs)), batch_size=3)
    plain = sample(backbone, jobs, batch_size=3)
    assert not torch.allclose(made[0].latents, plain[0].latents, atol=1e-2)
    for one, two in zip(made[1:], plain[1:], strict=True):
        torch.testing.assert_close(one.latents, two.latents, rtol=1e-4, atol=1e-4)


def test_outside_its_window_the_identity_stream_is_the_plain_backbone():
    backbone = tiny_backbone("sd1")
    trace: dict[str, list[torch.Tensor]] = {"plain": [], "made": []}

    def keep(name):
        return lambda step, now: trace[name].append(now.clone())

    late = replace(JOB, id_start=0.5)
    sample(backbone, [late], callback=keep("plain"))
    sample(
        backbone, [late], InfiniteID.untrained(backbone, Config(text_stream="batch")), callback=keep("made")
    )
    for step in (0, 1):
        torch.testing.assert_close(trace["made"][step], trace["plain"][step], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(trace["made"][2], trace["plain"][2], rtol=0, atol=5e-4)


def test_ablations_differ():
    backbone = tiny_backbone("sdxl")
    options = [{}, {"attention": "mutual"}, {"attention": "none"}, {"adain": "off"}, {"adain": "full"}]
    made = [latents(backbone, [JOB], **chosen)[0] for chosen in options]
    assert all(torch.isfinite(one).all() for one in made)
    for place, one in enumerate(made):
        assert all(not torch.allclose(one, other, atol=1e-4) for other in made[:place])


def test_memory_is_bounded():
    backbone = tiny_backbone("sd1")
    sites = [site for site in backbone.sites if site.kind == "self"]
    expected = sum(2 * 64 // site.cell**2 * site.width for site in sites) * 4 * 3 * 2
    assert stream_bytes(backbone, JOB) == expected
    kept = TextStreams(backbone, mebibytes=0)
    assert not kept.fits([JOB])
    asked: list[Job] = []
    run = Run("DDIMScheduler", lambda jobs, hooks: asked.extend(jobs))
    for job in (JOB, JOB, JOBS[1], JOB):
        kept.get(job, run)
    assert asked == [JOB, JOBS[1], JOB]
    with rows_seen(backbone) as rows:
        latents(backbone, [JOB], cache_mib=0)
    assert rows == [4] * 3


def test_what_does_not_fit_leaves_the_first_streams_in_place():
    """People with all their prompts in turn: of three streams two fit, and the first is always found."""
    big = replace(JOB, width=512, height=512, steps=8)
    backbone = tiny_backbone("sd1")
    mebibytes = 2 * stream_bytes(backbone, big) // 2**20 + 1
    assert 3 * stream_bytes(backbone, big) > mebibytes * 2**20
    kept, asked = TextStreams(backbone, mebibytes=mebibytes), []
    run = Run("DDIMScheduler", lambda jobs, hooks: asked.extend(job.seed for job in jobs))
    for seed in (1, 2, 3) * 3:
        kept.get(replace(big, seed=seed), run)
    assert asked == [1, 2, 3, 2, 3, 2, 3]


def test_jobs_of_one_text_come_together():
    backbone = tiny_backbone("sd1")
    order = [replace(JOB, identity=who, seed=seed) for who in (A, B) for seed in (1, 2)]
    with rows_seen(backbone) as rows:
        latents(backbone, order, 2)
    assert rows == [2, 2, 2, 4, 4, 4] * 2


def test_a_damaged_stream_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("SPID_CACHE", str(tmp_path))
    backbone = tiny_backbone("sd1")
    latents(backbone, [JOB], text_stream="disk")
    [folder] = (tmp_path / "infinite-id").iterdir()
    assert len(list(folder.iterdir())) == JOB.steps
    (folder / "step_0001.safetensors").write_bytes(b"half")
    with pytest.raises(SpidError, match="is damaged"):
        latents(backbone, [JOB], text_stream="disk")


def test_an_interrupted_stream_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("SPID_CACHE", str(tmp_path))
    kept = TextStreams(tiny_backbone("sd1"), mebibytes=1, folder=tmp_path)

    def stop(jobs, hooks):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept.get(JOB, Run("DDIMScheduler", stop))
    assert list(tmp_path.iterdir()) == []


def test_without_a_weight_nothing_is_attached():
    backbone = tiny_backbone("sd1")
    method = InfiniteID.untrained(backbone)
    for idle in (replace(JOB, id_weight=0.0), replace(JOB, identity=None), replace(JOB, id_start=1.0)):
        assert type(method.attach(backbone, [idle])) is Attachment
        assert method.batch_key(idle) != method.batch_key(JOB)
