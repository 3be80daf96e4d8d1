"""From prompts and pictures to pictures, on a tiny backbone with a face encoder of the test's own."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from tiny import tiny_backbone, tiny_folder

from methods.errors import FaceError, PictureError, UsageError, WeightsError
from methods.faces import Detection
from methods.generate import generate
from methods.provenance import differences
from methods.uniform.method import Uniform


class CentreEncoder:
    """Takes the middle of a picture, unless it is black, for a face and coarse colours for an identity."""

    name, licence, dim, provider = "centre", "none", 512, "numpy"
    fingerprint, domain, detector_sizes, threshold = "centre-1", None, (640,), None

    def detect(self, rgb, *, size=None):
        h, w = rgb.shape[:2]
        if rgb[h // 2, w // 2].max() == 0:
            return []
        box = np.array([w / 4, h / 4, 3 * w / 4, 3 * h / 4], dtype=np.float32)
        x, y = w / 2, h / 2
        points = [[x - 9, y - 9], [x + 9, y - 9], [x, y], [x - 7, y + 9], [x + 7, y + 9]]
        return [Detection(box, np.array(points, dtype=np.float32), 0.9)]

    def embed(self, rgb, landmarks):
        small = np.asarray(Image.fromarray(rgb).resize((16, 16))).astype(np.float32)[..., :2]
        return small.reshape(-1)[:512] - 127.0

    def similarity(self, a, b):
        return float(a.embedding @ b.embedding)


@pytest.fixture
def setting(tmp_path, monkeypatch):
    """References, weights for the tiny backbone, and the arguments that all tests share."""
    monkeypatch.setenv("SPID_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for name in ("anna", "ben"):
        Image.fromarray(rng.integers(0, 255, (128, 128, 3), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    Uniform.untrained(tiny_backbone("sd1")).save(tmp_path / "adapter")
    return tmp_path, {
        "backbone": tiny_backbone("sd1"),
        "face_encoder": CentreEncoder(),
        "adapter": tmp_path / "adapter",
        "steps": 2,
    }


def test_every_method_identity_prompt_and_seed(setting):
    folder, common = setting
    done, seen = [], []
    made = generate(
        prompts=["a {person} on the beach", "photo of {id}"],
        references={"anna": folder / "anna.png", "ben": folder / "ben.png"},
        methods=["none", "uniform"],
        num_images=2,
        seed=5,
        progress=lambda *steps: done.append(steps),
        on_picture=seen.append,
        **common,
    )
    keys = [(one.identity, one.prompt, one.seed, one.method) for one in made]
    assert keys == [
        (identity, prompt, seed, method)
        for identity in ("anna", "ben")
        for prompt in ("a {person} on the beach", "photo of {id}")
        for seed in (5, 6)
        for method in ("none", "uniform")
    ]
    assert {id(one) for one in seen} == {id(one) for one in made}
    assert done[-1] == (2 * (4 + 8), 2 * (4 + 8)) and len(done) == 24
    by_key = dict(zip(keys, made, strict=True))
    prompt = "photo of {id}"
    assert by_key["anna", prompt, 5, "none"].picture is by_key["ben", prompt, 5, "none"].picture
    pictures = {
        by_key[identity, prompt, seed, "uniform"].picture.tobytes()
        for identity in ("anna", "ben")
        for seed in (5, 6)
    }
    assert len(pictures) == 4
    job = json.loads(json.dumps(by_key["ben", prompt, 6, "uniform"].job, allow_nan=False))
    assert job["prompt_expanded"] == "photo of person" and job["seed"] == 6 and job["identity"] == "ben"
    assert job["face_encoder"]["name"] == "centre" and len(job["reference"]["sha256"]) == 64
    assert job["backbone_fingerprint"] == common["backbone"].fingerprint
    assert by_key["ben", prompt, 6, "none"].job["reference"] is None


def test_a_description_reproduces_its_picture(setting):
    folder, common = setting
    common = {**common, "backbone": str(tiny_folder("sd1"))}
    made = generate(
        prompts="photo of {id}",
        references=folder / "anna.png",
        methods=["none", "uniform"],
        method_options={"uniform": {"lora_scale": 0.5}},
        scheduler="euler",
        guidance=3.0,
        width=48,
        height=80,
        id_weight=0.7,
        id_end=0.5,
        seed=3,
        **common,
    )
    for one in made:
        job = json.loads(json.dumps(one.job))
        plain = ("negative_prompt", "seed", "steps", "guidance", "width", "height", "scheduler", "id_weight")
        [again] = generate(
            prompts=job["prompt"],
            references=None if job["reference"] is None else {job["identity"]: job["reference"]["path"]},
            methods=job["method"],
            method_options={job["method"]: job["method_options"]},
            backbone=job["backbone"],
            backbone_options={"dtype": job["dtype"], "device": job["device"], **job["backbone_options"]},
            face_encoder=CentreEncoder(),
            face_select=job["face_select"],
            adapter=job["adapter"],
            batch_size=job["batch_size"],
            id_start=job["id_start"],
            id_end=job["id_end"],
            **{name: job[name] for name in plain},
        )
        assert differences(job, again.job) == []
        assert again.picture.tobytes() == one.picture.tobytes()
    other = {**made[1].job, "versions": {**made[1].job["versions"], "torch": "1.0"}}
    assert differences(made[1].job, other) == ["versions.torch"]


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({"prompts": []}, UsageError),
        ({"prompts": "a {persn}"}, UsageError),
        ({"methods": []}, UsageError),
        ({"methods": "unifrom"}, UsageError),
        ({"methods": "uniform", "references": None}, UsageError),
        ({"method_options": {"uniform": {"lora": 1}}}, UsageError),
        ({"method_options": {"spatialid": {}}}, UsageError),
        ({"adapter": {"unifrom": "absent.safetensors"}}, UsageError),
        ({"id_start": 0.8, "id_end": 0.2}, UsageError),
        ({"id_weight": float("nan")}, UsageError),
        ({"guidance": float("inf")}, UsageError),
        ({"scheduler": "ddpm"}, UsageError),
        ({"seed": -1}, UsageError),
        ({"num_images": 0}, UsageError),
        ({"width": 60}, UsageError),
        ({"references": "absent.png"}, PictureError),
        ({"references": "black.png"}, FaceError),
        ({"backbone": "nowhere/at/all"}, WeightsError),
        ({"adapter": "absent.safetensors"}, WeightsError),
        ({"backbone": "TINY", "face_encoder": None}, UsageError),
    ],
)
def test_what_cannot_be_done_is_refused_before_sampling(setting, monkeypatch, request_, error):
    folder, common = setting
    monkeypatch.chdir(folder)
    Image.new("RGB", (64, 64)).save("black.png")
    if request_.get("backbone") == "TINY":
        request_ = {**request_, "backbone": tiny_folder("sd1")}
    steps = []
    base = {"prompts": "photo", "references": folder / "anna.png", "methods": ["none", "uniform"]}
    with pytest.raises(error):
        generate(**{**base, **common, **request_}, progress=lambda *done: steps.append(done))
    assert steps == []
