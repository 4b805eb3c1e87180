from __future__ import annotations

import importlib.util
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

EXAMPLE = Path(__file__).parents[2] / "examples" / "faces.py"


@pytest.fixture(scope="module")
def faces():
    spec = importlib.util.spec_from_file_location("faces_example", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["faces_example"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["faces_example"]


@pytest.fixture(scope="module")
def album(tmp_path_factory):
    """Eight people who are smooth patterns of their own, five images each in other light and noise."""
    root = tmp_path_factory.mktemp("album")
    generator = np.random.default_rng(0)
    across, down = np.meshgrid(np.linspace(0, 1, 24), np.linspace(0, 1, 28))
    for person in range(8):
        folder = root / "faces" / f"p{person}"
        folder.mkdir(parents=True)
        waves = generator.normal(size=(4, 3))
        pattern = sum(a * np.cos(2 * np.pi * (3 * u * across + 3 * v * down)) for a, u, v in waves)
        for number in range(5):
            noisy = 128 + 40 * generator.uniform(0.8, 1.2) * pattern + 10 * generator.normal(size=pattern.shape)
            Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(folder / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def packed(album, tmp_path_factory):
    file = tmp_path_factory.mktemp("packed") / "album.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for image in sorted(album.rglob("*.png")):
            archive.write(image, image.relative_to(album))
    return file


@pytest.fixture(autouse=True)
def _threads_stay():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


SMALL = ["--size", "28", "24", "--held-out", "4", "--epochs", "4", "--batch", "7", "--threads", "1", "--json"]


def test_three_heads_are_verified_on_people_held_out(faces, album, packed, tmp_path, capsys):
    picture = tmp_path / "roc.svg"
    assert faces.main([str(packed), *SMALL, "--repeats", "2", "--picture", str(picture)]) == 0
    out, err = capsys.readouterr()
    first, second = json.loads(out)
    assert not set(first["held_out"]) & set(second["held_out"])
    assert list(first["heads"]) == ["pixels", "softmax", "CosFace", "ArcFace"]
    for result in first["heads"].values():
        assert (result["genuine_pairs"], result["impostor_pairs"]) == (4 * 10, 6 * 25)
        assert 0 <= result["eer"] < 0.5
        assert [point["resolved"] for point in result["tar_at_far"]] == [True, False]
        assert 0.5 <= result["accuracy"] <= 1
    assert "softmax: epoch 4 of 4" in err
    assert "CosFace: 40 genuine" in err
    assert "false acceptance rate" in picture.read_text(encoding="utf-8")

    # A folder is the ZIP file unpacked, and the seed decides everything.
    assert faces.main([str(album / "faces"), *SMALL, "--heads", "ArcFace"]) == 0
    (again,) = json.loads(capsys.readouterr().out)
    assert again["held_out"] == first["held_out"]
    for result in (again["heads"]["ArcFace"], first["heads"]["ArcFace"]):
        del result["seconds"]
    assert again["heads"]["ArcFace"] == first["heads"]["ArcFace"]


def test_nobody_is_learnt_and_held_out(faces, album):
    found = faces.read(album / "faces", (28, 24))
    assert found.images.shape == (40, 1, 28, 24)
    assert found.images.abs().max() <= 1
    for seen, unseen in faces.partitions(found, 3, 2, seed=1):
        assert sorted(seen.names + unseen.names) == found.names
        assert sorted(seen.person.unique().tolist()) == list(range(5))
        rows = torch.tensor([found.names.index(unseen.names[k]) for k in unseen.person.tolist()])
        assert (found.images[torch.isin(found.person, rows.unique())] == unseen.images).all()


def test_the_table_has_a_line_a_head(faces):
    point = {"requested": 0.01, "tar": 0.5, "resolved": True}
    result = {"eer": 0.25, "auc": 0.75, "genuine_pairs": 3, "impostor_pairs": 9,
              "tar_at_far": [point, {**point, "requested": 0.001, "resolved": False}]}  # fmt: skip
    text = faces.table([{"pixels": result, "ArcFace": {**result, "eer": 0.125}}])
    assert text.splitlines()[2].split() == ["ArcFace", "50.0", "%", "50.0", "%", "12.5", "%", "75.0", "%"]
    assert "no false acceptance at FAR 0.001" in text
    twice = faces.table([{"pixels": result}, {"pixels": {**result, "eer": 0.35}}])
    assert "30.0 ± 7.1 %" in twice


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--held-out", "7"], "8 people cannot have 7 held out"),
        (["--held-out", "4", "--repeats", "3"], "8 people make at most 2 repeats"),
    ],
)
def test_mistakes_are_one_line(faces, album, arguments, message, capsys):
    assert faces.main([str(album / "faces"), "--size", "28", "24", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert faces.main([str(album / "nobody")]) == 2
    assert "no such file or folder" in capsys.readouterr().err
