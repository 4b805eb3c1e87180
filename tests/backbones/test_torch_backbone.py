from __future__ import annotations

import sys
import textwrap

import numpy as np
import pytest

from crosshead.backbones import find_backbone, load_backbone
from crosshead.data import DataError

pytest.importorskip("torch")

PIXELS = np.random.default_rng(5).integers(0, 256, (5, 4, 6, 3), dtype=np.uint8)
SOURCE = """
    import torch

    class Mean(torch.nn.Module):
        def __init__(self, scale=1.0):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(scale))
            self.norm = torch.nn.BatchNorm2d(3)
        def forward(self, images):
            return self.norm(images).mean(dim=(2, 3)) * self.scale

    made = Mean(2.0)
    def make():
        return Mean(3.0)
    def words():
        return "no network"
    def boom():
        raise RuntimeError("no weights here")
    def leaves():
        raise SystemExit(3)
    def takes(width):
        return Mean()
    class Nan(torch.nn.Module):
        def forward(self, images):
            return images.mean(dim=(2, 3)) * float("nan")
    class Pair(torch.nn.Module):
        def forward(self, images):
            return images, images
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A module of its own name for each test: Python keeps what it has imported."""
    name = f"networks_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(SOURCE))
    (tmp_path / f"{name}_damaged.py").write_text("def make(:")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_modules_and_their_makers(home):
    """New batch normalisation divides by sqrt(1 + 1e-5) in eval mode; in training mode by the batch."""
    means = PIXELS.astype(np.float64).mean(axis=(1, 2)) / 255 / np.sqrt(1 + 1e-5)
    for name, scale in (("made", 2.0), ("make", 3.0), ("Mean", 1.0)):
        backbone = load_backbone(f"torch:{home}:{name}", {"size": (4, 6)})
        np.testing.assert_allclose(backbone.embed(PIXELS), scale * means, rtol=1e-5)
        assert backbone.n_features == 3


def test_fingerprints_follow_the_weights(home):
    one, other = (load_backbone(f"torch:{home}:{name}", {"size": (4, 6)}).description for name in ("made", "make"))
    assert one["fingerprint"] != other["fingerprint"]
    assert find_backbone(one, f"torch:{home}:made").description == one
    with pytest.raises(DataError, match="not the backbone that the model was trained with"):
        find_backbone(one, f"torch:{home}:make")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("torch:{}", "write torch:module:name"),
        ("torch:no_such_module_here:net", "cannot be imported"),
        ("torch:{}:none", "has no 'none'"),
        ("torch:{}:words", "is str, not a torch.nn.Module"),
        ("torch:{}:boom", "'boom' failed when it was called without arguments \\(RuntimeError: no weights here\\)"),
        ("torch:{}:leaves", "'leaves' failed when it was called"),
        ("torch:{}:takes", "'takes' failed when it was called without arguments .*'width'"),
        ("torch:{}_damaged:make", "cannot be imported \\(SyntaxError"),
        ("torch:{}:Nan", "NaN or infinite; are its weights damaged"),
        ("torch:{}:Pair", "returns tuple, not one tensor"),
    ],
)
def test_what_is_no_network(home, spec, message):
    with pytest.raises(DataError, match=message):
        load_backbone(spec.format(home), {"size": (4, 6)})


def test_the_size_must_be_said(home):
    with pytest.raises(DataError, match="say --size"):
        load_backbone(f"torch:{home}:made")


def test_nothing_is_imported_on_the_word_of_a_description(home, tmp_path):
    known = dict(load_backbone(f"torch:{home}:made", {"size": (4, 6)}).description)
    for name in ("torch:runs_when_imported:made", "torch:os:abort", "net.onnx", "torch:\x1b[2J\u202e"):
        with pytest.raises(DataError, match="that runs only where you name it yourself") as refused:
            find_backbone({**known, "name": name})
        assert repr(name) in str(refused.value)
    with pytest.raises(DataError, match="name it yourself"):
        find_backbone(known, "net.onnx")
    with pytest.raises(DataError, match=r"features come from the file 'net\.onnx'"):
        find_backbone({**known, "kind": "onnx", "name": "net.onnx"}, f"torch:{home}:made")


LATE = """
    import torch

    class Late(torch.nn.Module):
        def forward(self, images):
            import {helper}
            return {helper}.pooled(images)
"""


def test_the_working_folder_is_importable_only_while_the_code_runs(tmp_path, monkeypatch):
    """For a module that is imported when the network is called, too."""
    name = f"late_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(LATE.format(helper=f"{name}_helper")))
    (tmp_path / f"{name}_helper.py").write_text("def pooled(images):\n    return images.mean(dim=(2, 3))\n")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    before = list(sys.path)
    backbone = load_backbone(f"torch:{name}:Late", {"size": (4, 6)})
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert sys.path == before
    sys.modules.pop(f"{name}_helper")
    assert backbone.embed(PIXELS).shape == (5, 3)
    assert sys.path == before
    with pytest.raises(DataError, match="cannot be imported"):
        load_backbone(f"torch:{name}_2:Late", {"size": (4, 6)})
    assert sys.path == before


def test_a_file_in_the_working_folder_does_not_come_before_what_is_installed(tmp_path, monkeypatch):
    (tmp_path / "imaplib.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="module 'imaplib' has no 'net'"):
        load_backbone("torch:imaplib:net", {"size": (4, 6)})
