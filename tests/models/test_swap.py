"""Replacing a model folder: only ours, in one step, and whole after a killed run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crosshead.models import Model, ModelError
from crosshead.models import swap as folder_swap


def make(loss: str) -> Model:
    return Model(np.eye(2), np.zeros(2), np.array(["no", "yes"]), loss)


@pytest.fixture(params=["exchange", "two renames"])
def any_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "two renames":
        monkeypatch.setattr(folder_swap, "_exchange", lambda one, other: False)


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


class Killed(BaseException):
    """Stands for SIGKILL: from then on the run does nothing to the disk any more, not even tidying."""


def kill_before(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the first `step` changes of the file system happen and none after them."""
    done = 0

    def counted(change: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal done
            if done >= step:
                raise Killed
            done += 1
            return change(*arguments, **options)

        return call

    for name in ("mkdir", "rename"):
        monkeypatch.setattr(Path, name, counted(getattr(Path, name)))
    for name in ("fsync", "unlink", "rmdir"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))
    monkeypatch.setattr(folder_swap, "_exchange", counted(folder_swap._exchange))


@pytest.mark.usefixtures("any_system")
def test_a_killed_run_leaves_the_old_or_the_new_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for step in range(60):
        place = tmp_path / f"run{step}" / "m"
        make("softmax").save(place)
        killed = False
        with monkeypatch.context() as patch:
            kill_before(step, patch)
            try:
                make("hinge").save(place)
            except Killed:
                killed = True
        found.append(Model.load(place).loss)
        make("binary").save(place)
        assert Model.load(place).loss == "binary"
        if not killed:
            break
    else:
        pytest.fail("the run never finished")
    assert found == sorted(found, reverse=True)  # old … old, new … new
    assert set(found) == {"softmax", "hinge"}


def test_a_stale_backup_is_not_taken_for_a_removed_model(tmp_path: Path) -> None:
    make("softmax").save(folder_swap.backup_of(tmp_path / "m"))
    assert Model.load(tmp_path / "m").loss == "softmax"
    make("hinge").save(tmp_path / "m")
    assert os.listdir(tmp_path) == ["m"]


def test_a_failed_save_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make("softmax").save(tmp_path / "m")

    def full_disk(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("crosshead.models.folder.write_file", full_disk)
    with pytest.raises(OSError, match="No space left"):
        make("hinge").save(tmp_path / "m")
    assert os.listdir(tmp_path) == ["m"]
    assert Model.load(tmp_path / "m").loss == "softmax"
