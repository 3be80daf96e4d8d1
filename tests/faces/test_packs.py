"""insightface packs: found where they lie, run where they should, refused by name."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from square_pack import person, write_pack

from methods.errors import MissingDependencyError, SpidError, UsageError, WeightsError
from methods.faces import FaceEncoder, align, encoder_names, load_encoder
from methods.faces.geometry import TEMPLATE, similarity_transform
from methods.faces.packs import INSIGHTFACE_LICENCE, find_pack


def test_a_folder_is_an_encoder(pack: Path, capfd):
    encoder = load_encoder(pack)
    assert isinstance(encoder, FaceEncoder)
    assert (encoder.name, encoder.dim, encoder.provider) == ("squares", 512, "CPUExecutionProvider")
    assert encoder.licence == INSIGHTFACE_LICENCE and encoder.domain is None
    assert encoder.detector_sizes == (640, 320, 160)
    found = encoder.detect(np.asarray(person(640, (200, 300))))
    assert len(found) == 1 and found[0].score > 0.5
    assert np.abs(found[0].box - (160, 260, 240, 340)).max() <= 12
    out, err = capfd.readouterr()
    assert out == "" and "warning" not in err.lower()


@pytest.mark.filterwarnings("ignore:`estimate` is deprecated")
def test_detection_and_embedding_are_insightface_own(pack: Path):
    from insightface.app import FaceAnalysis

    reference = FaceAnalysis(str(pack), allowed_modules=["detection", "recognition"])
    reference.prepare(ctx_id=0, det_size=(640, 640))
    rgb = np.asarray(person(500, (200, 300), tint=90))
    expected = reference.get(rgb[..., ::-1])[0]
    encoder = load_encoder(pack)
    detection = encoder.detect(rgb)[0]
    np.testing.assert_array_equal(detection.box, expected.bbox.astype(np.float32))
    np.testing.assert_array_equal(detection.landmarks, expected.kps.astype(np.float32))
    np.testing.assert_allclose(
        encoder.embed(rgb, detection.landmarks), expected.embedding, rtol=1e-4, atol=1e-4
    )


@pytest.mark.filterwarnings("ignore:`estimate` is deprecated")
def test_alignment_is_insightface_own():
    from insightface.utils.face_align import norm_crop

    generator = np.random.default_rng(0)
    rgb = generator.integers(0, 255, (90, 120, 3), dtype=np.uint8)
    for size in (112, 224):
        points = np.float32([[40, 30], [70, 34], [52, 50], [42, 62], [66, 66]])
        points += generator.normal(0, 2, points.shape).astype(np.float32)
        difference = align(rgb, points, size).astype(int) - norm_crop(rgb, points, size)
        assert np.abs(difference).max() <= 1


def test_alignment_never_mirrors():
    rgb = np.zeros((100, 100, 3), np.uint8)
    mirrored = np.float32([[70, 30], [40, 30], [55, 50], [66, 66], [44, 66]])
    assert np.linalg.det(similarity_transform(mirrored, TEMPLATE)[:, :2]) > 0
    assert align(rgb, mirrored).shape == (112, 112, 3)


def test_pack_json_is_read(pack: Path, tmp_path: Path):
    folder = Path(shutil.copytree(pack, tmp_path / "p"))
    stated = {"name": "mine", "licence": "Apache-2.0", "det_size": [128, 128], "domain": "pocket-render"}
    (folder / "pack.json").write_text(json.dumps(stated))
    encoder = load_encoder(f"insightface:{folder}")
    assert (encoder.name, encoder.licence, encoder.domain) == ("mine", "Apache-2.0", "pocket-render")
    assert encoder.detector_sizes == (128, 64)
    for broken in ("{", "[]", '{"name": "x"}', '{"name": "x", "licence": "y", "det_size": "big"}'):
        (folder / "pack.json").write_text(broken)
        with pytest.raises(WeightsError, match=r"pack\.json"):
            load_encoder(folder)


def test_a_detector_of_fixed_size_has_no_smaller_one(tmp_path: Path):
    encoder = load_encoder(write_pack(tmp_path / "p", fixed=128))
    assert encoder.detector_sizes == (128,)
    assert len(encoder.detect(np.asarray(person(128)))) == 1


def test_nested_folder_of_the_published_zip(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_pack(tmp_path / ".insightface" / "models" / "antelopev2" / "antelopev2")
    assert load_encoder("insightface:antelopev2").name == "antelopev2"
    assert find_pack("antelopev2").folder.parts[-2:] == ("antelopev2", "antelopev2")


def test_missing_packs_name_the_exact_place_and_download_nothing(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(WeightsError) as caught:
        load_encoder("insightface:buffalo_l")
    assert str(tmp_path / ".insightface" / "models" / "buffalo_l") in str(caught.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match=r"no \.onnx files in .*empty"):
        load_encoder(tmp_path / "empty")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty"]


@pytest.mark.parametrize(("gone", "word"), [("det.onnx", "detector"), ("rec.onnx", "recogniser")])
def test_incomplete_packs(pack: Path, tmp_path: Path, gone, word):
    folder = Path(shutil.copytree(pack, tmp_path / "p"))
    (folder / gone).unlink()
    with pytest.raises(WeightsError, match=word):
        load_encoder(folder)


def test_damaged_model(pack: Path, tmp_path: Path):
    folder = Path(shutil.copytree(pack, tmp_path / "p"))
    (folder / "det.onnx").write_bytes((folder / "det.onnx").read_bytes()[:500])
    with pytest.raises(WeightsError, match="cannot be loaded") as caught:
        load_encoder(folder)
    assert "\n" not in str(caught.value)


def test_a_provider_that_is_not_there_is_an_error_with_the_fix(pack: Path):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this machine has it")
    for name in ("cuda", "CUDAExecutionProvider"):
        with pytest.raises(MissingDependencyError, match="no CUDAExecutionProvider") as caught:
            load_encoder(pack, providers=[name])
        assert "pip install onnxruntime-gpu" in (caught.value.hint or "")


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_silent_fall_to_the_cpu_is_an_error(pack: Path, monkeypatch):
    """onnxruntime-gpu lists CUDA as available and then runs on the CPU when its libraries do not load."""
    import onnxruntime

    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)
    with pytest.raises(SpidError, match="CUDAExecutionProvider"):
        load_encoder(pack, providers=["cuda", "cpu"])


def test_fingerprint_follows_the_files_in_use(pack: Path, tmp_path: Path):
    folder = Path(shutil.copytree(pack, tmp_path / "p"))
    first = load_encoder(pack).fingerprint
    assert load_encoder(folder).fingerprint == first and len(first) == 64
    (folder / "a_genderage.onnx").unlink()
    assert load_encoder(folder).fingerprint == first
    with (folder / "rec.onnx").open("ab") as stream:
        stream.write(b"\x1a\x00")  # an empty graph field: another file, the same model
    assert load_encoder(folder).fingerprint != first


def test_no_telemetry_files(pack: Path, tmp_path: Path):
    code = (
        f"import os; from methods.faces import load_encoder; load_encoder({str(pack)!r}); "
        "print(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "1"
    assert not [p for p in tmp_path.rglob("*") if "onnxruntime" in p.name]


def test_names():
    assert encoder_names()[:4] == ["pocket", "pocket-scoring", "dlib", "insightface"]
    for given, hint in (
        ("pockett", "Did you mean 'pocket'?"),
        ("antelopev2", "insightface:antelopev2"),
        ("insightface", "insightface:antelopev2"),
        ("some/folder", "path"),
        ("zzz", "Known: pocket"),
    ):
        with pytest.raises(UsageError) as caught:
            load_encoder(given)
        assert hint in str(caught.value)


def test_importing_faces_needs_neither_torch_nor_onnxruntime():
    heavy = ("torch", "onnxruntime", "cv2", "dlib")
    code = f"import sys, methods.faces; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
