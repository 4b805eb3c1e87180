"""Replacing a model folder: only ours, and whole where it fails. What a kill leaves: tests/test_atomic_files.py."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from crosshead import atomic_files
from crosshead.models import Model, ModelError


def make(loss: str) -> Model:
    return Model(np.eye(2), np.zeros(2), np.array(["no", "yes"]), loss)


@pytest.fixture(params=["exchange", "two renames"])
def any_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "two renames":
        monkeypatch.setattr(atomic_files, "_exchange", lambda one, other: False)


@pytest.mark.usefixtures("any_system")
def test_only_our_folders_are_replaced(tmp_path: Path) -> None:
    place = tmp_path / "m"
    place.mkdir()
    make("softmax").save(place)
    make("hinge").save(place)
    assert Model.load(place).loss == "hinge"
    assert os.listdir(tmp_path) == ["m"]
    (place / "thoughts.txt").write_text("mine")
    with pytest.raises(ModelError, match=r"m: the folder also holds 'thoughts\.txt'"):
        make("softmax").save(place)
    assert (place / "thoughts.txt").read_text() == "mine"
    other = tmp_path / "other"
    other.mkdir()
    (other / "model.json").write_text('{"format": "layers-model"}')
    with pytest.raises(ModelError, match="other: the folder holds something else than a model"):
        make("softmax").save(other)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ModelError, match="file: a file is in the way"):
        make("softmax").save(tmp_path / "file")
    assert sorted(os.listdir(tmp_path)) == ["file", "m", "other"]


def test_a_link_to_a_model_stays_a_link(tmp_path: Path) -> None:
    make("softmax").save(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    make("hinge").save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert Model.load(tmp_path / "real").loss == "hinge"


def test_a_stale_backup_is_not_taken_for_a_removed_model(tmp_path: Path) -> None:
    make("softmax").save(atomic_files.backup_of(tmp_path / "m"))
    assert Model.load(tmp_path / "m").loss == "softmax"
    make("hinge").save(tmp_path / "m")
    assert os.listdir(tmp_path) == ["m"]


def test_a_failed_save_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make("softmax").save(tmp_path / "m")

    def full_disk(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match=r"No space left on device: '.*/m'"):
        make("hinge").save(tmp_path / "m")
    assert os.listdir(tmp_path) == ["m"]
    assert Model.load(tmp_path / "m").loss == "softmax"
