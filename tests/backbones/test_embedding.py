from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import textwrap
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

import crosshead.backbones.embedding as embedding
from crosshead.backbones import embed, embed_to_file, load_backbone, resumable_file
from crosshead.backbones.embedding import Embedding, embed_cached
from crosshead.data import DataError, load, open_images

STATED = {"mean": 0.5, "std": 0.25}
SIZE = 4


@pytest.fixture
def backbone(make_network):
    return load_backbone(str(make_network().path), STATED)


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_files_hold_what_memory_holds(photos, backbone, tmp_path, suffix):
    source = open_images(photos)
    expected = embed(source, backbone, Embedding(SIZE))
    seen = []
    made = embed_to_file(source, backbone, tmp_path / f"f{suffix}", Embedding(SIZE), lambda *at: seen.append(at))
    assert (made.broken, made.resumed, seen[-1]) == ((), 0, (30, 30))
    data = load(tmp_path / f"f{suffix}")
    np.testing.assert_array_equal(data.features, expected.features)
    assert data.row_names == expected.row_names == source.names
    assert data.target.tolist() == source.labels.tolist()
    assert data.encoding["backbone"] == {**backbone.description, "batch_size": SIZE}
    assert sorted(path.name for path in tmp_path.iterdir() if "f." in path.name) == [f"f{suffix}"]


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_test_images_and_broken_ones(odd_images, photos, backbone, tmp_path, suffix):
    (tmp_path / "both").mkdir()
    photos.rename(tmp_path / "both" / "test")
    odd_images.rename(tmp_path / "both" / "train")
    source = open_images(tmp_path / "both")
    with pytest.raises(DataError, match="2 images cannot be read"):
        embed_to_file(source, backbone, tmp_path / f"f{suffix}")
    made = embed_to_file(source, backbone, tmp_path / f"f{suffix}", Embedding(SIZE, skip_broken=True))
    assert [Path(one.place).name for one in made.broken] == ["cut.jpg", "text.png"]
    data = load(tmp_path / f"f{suffix}")
    assert (data.n_rows, data.test.n_rows) == (5, 30)
    whole = embed(source, backbone, Embedding(SIZE, skip_broken=True))
    np.testing.assert_array_equal(data.features, whole.features)
    np.testing.assert_array_equal(data.test.features, whole.test.features)
    assert data.row_names == whole.row_names
    assert data.test.target.tolist() == source.test.labels.tolist()


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_images_without_labels(photos, backbone, tmp_path, suffix):
    embed_to_file(open_images(photos / "dark"), backbone, tmp_path / f"f{suffix}")
    data = load(tmp_path / f"f{suffix}", target_required=False)
    assert data.target is None
    assert data.row_names[:2] == ["00.png", "01.png"]
    with pytest.raises(DataError, match="features without labels"):
        load(tmp_path / f"f{suffix}")


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from crosshead.backbones import embed_to_file, load_backbone, resumable_file
    from crosshead.backbones.embedding import Embedding
    from crosshead.data import open_images

    photos, network, output, batches, seconds = sys.argv[1:]
    resumable_file.SAVE_SECONDS = float(seconds)
    backbone = load_backbone(network, {"mean": 0.5, "std": 0.25})
    embed_batch = backbone.embed
    left = int(batches)

    def embed(pixels):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return embed_batch(pixels)

    backbone.embed = embed
    embed_to_file(open_images(photos), backbone, Path(output), Embedding(4))
"""


@pytest.mark.parametrize(("batches", "seconds", "resumed"), [(1, 0.0, 4), (6, 0.0, 24), (5, 1e9, 0)])
def test_a_killed_run_goes_on_and_makes_the_same_bytes(
    photos, backbone, make_network, tmp_path, batches, seconds, resumed
):
    """With 1e9 s between two records, rows are on the disk of which none says so: they must not count twice."""
    whole = tmp_path / "whole.npz"
    embed_to_file(open_images(photos), backbone, whole, Embedding(SIZE))
    output = tmp_path / "killed.npz"
    network = make_network().path
    home = Path(embedding.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), photos, network, output, str(batches), str(seconds)],
        env={**os.environ, "PYTHONPATH": str(home)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert not output.exists()
    made = embed_to_file(open_images(photos), backbone, output, Embedding(SIZE))
    assert made.resumed == resumed
    assert output.read_bytes() == whole.read_bytes()
    assert not output.with_name(".killed.npz.partial").exists()


def test_what_a_run_left_that_was_killed_after_its_last_step_goes_with_the_next(photos, backbone, tmp_path):
    """The features are in the cache; only the folder where they gathered is not gone yet."""
    source = open_images(photos)
    made = embed_cached(source, backbone, tmp_path / "cache", Embedding(SIZE))
    left = made.path.with_name(f".{made.path.name}.partial")
    left.mkdir()
    for name in ("lock", "train.bin", "train.json"):
        (left / name).write_text("")
    with (left / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the other run is at it still
        assert embed_cached(source, backbone, tmp_path / "cache", Embedding(SIZE)).cached
        assert left.is_dir()
    assert embed_cached(source, backbone, tmp_path / "cache", Embedding(SIZE)).cached
    assert os.listdir(tmp_path / "cache") == [made.path.name]


@pytest.mark.parametrize("whole", [True, False])
def test_a_run_that_ends_takes_its_lock_with_it(photos, backbone, tmp_path, monkeypatch, whole):
    """It removes the folder, or the lock in it, after the next run has opened that lock and before it has taken it."""
    flock, calls = fcntl.flock, []

    def removed(lock, operation):
        calls.append(lock)
        folder = tmp_path / ".f.npz.partial"
        if len(calls) == 1:
            (folder / "lock").unlink()
            if whole:
                folder.rmdir()
            else:
                (folder / "lock").write_text("")
        flock(lock, operation)

    monkeypatch.setattr(resumable_file.fcntl, "flock", removed)
    embed_to_file(open_images(photos), backbone, tmp_path / "f.npz", Embedding(SIZE))
    assert len([lock for lock in calls if not isinstance(lock, int)]) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.npz", "net.onnx", "photos"]


@pytest.mark.parametrize("name", ["lock", "train.bin", "train.json", "key"])
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.link(__file__, path)], ids=["pipe", "second name"])
def test_what_is_no_file_of_its_own_is_not_opened(photos, backbone, tmp_path, name, make):
    folder = tmp_path / ".f.npz.partial"
    folder.mkdir()
    try:
        make(folder / name)
    except OSError:
        pytest.skip("the folder of tests is on another disk")
    with pytest.raises(DataError, match=f"{name} is a link or no file"):
        embed_to_file(open_images(photos), backbone, tmp_path / "f.npz", Embedding(SIZE))


@pytest.mark.parametrize(
    "state",
    [
        {"stop": -1, "rows": -1, "broken": []},
        {"stop": 3, "rows": 0, "broken": []},
        {"stop": 1, "rows": 0, "broken": [[7, "a", "b"]]},
        {"stop": 1, "rows": 0, "broken": [0]},
    ],
)
def test_progress_that_cannot_be_is_none(tmp_path, state):
    (tmp_path / "train.json").write_text(json.dumps(state))
    (tmp_path / "train.bin").write_bytes(bytes(4 * 5 * 2))
    made = resumable_file.PartialFeatures(tmp_path, "train", 5)
    made.close()
    assert made.progress == resumable_file.Progress()


def test_another_source_does_not_go_on(photos, backbone, tmp_path):
    """A partial file of other images, or of another batch size, begins anew."""
    output = tmp_path / "f.npz"

    def stop(done, total):
        if done >= 12:
            raise KeyboardInterrupt

    source = open_images(photos)
    with pytest.raises(KeyboardInterrupt):
        embed_to_file(source, backbone, output, Embedding(SIZE), stop)
    (photos / "dark" / "00.png").write_bytes((photos / "light" / "00.png").read_bytes())
    made = embed_to_file(open_images(photos), backbone, output, Embedding(SIZE))
    assert made.resumed == 0
    np.testing.assert_array_equal(load(output).features, embed(open_images(photos), backbone, Embedding(SIZE)).features)


def test_progress_that_is_nested_deep_is_no_progress(tmp_path):
    (tmp_path / "train.json").write_text("[" * 100_000)
    features = resumable_file.PartialFeatures(tmp_path, "train", 3)
    features.close()
    assert features.progress == resumable_file.Progress()


def test_a_run_that_a_broken_image_ended_goes_on_without_it(photos, backbone, tmp_path):
    (photos / "light" / "14.png").write_bytes(b"")
    source, output = open_images(photos), tmp_path / "f.npz"
    with pytest.raises(DataError, match=r"light/14\.png: the image file is empty; .*--skip-broken"):
        embed_to_file(source, backbone, output, Embedding(SIZE))
    made = embed_to_file(source, backbone, output, Embedding(SIZE, skip_broken=True))
    assert (made.resumed, len(made.broken)) == (28, 1)
    np.testing.assert_array_equal(load(output).features, embed(source, backbone, Embedding(SIZE, None, True)).features)


def test_what_was_skipped_is_not_taken_for_whole(photos, backbone, tmp_path):
    (photos / "light" / "14.png").write_bytes(b"")
    source = open_images(photos)
    embed_cached(source, backbone, tmp_path, Embedding(SIZE, skip_broken=True))
    with pytest.raises(DataError, match=r"light/14\.png: could not be read when the features were made"):
        embed_cached(source, backbone, tmp_path, Embedding(SIZE))


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_memory_does_not_grow_with_the_images(make_network, tmp_path, monkeypatch, suffix):
    monkeypatch.setattr("crosshead.data.dataset.BLOCK_BYTES", 1 << 18)
    monkeypatch.setattr("crosshead.data.formats.feature_files.GROUP_BYTES", 1 << 18)
    network = make_network(side=5, channels=1, n_features=1500)
    backbone = load_backbone(str(network.path), STATED)
    np.savez(tmp_path / "x.npz", X=np.random.default_rng(0).integers(0, 256, (2001, 5, 5), dtype=np.uint8))
    source = open_images(tmp_path / "x.npz")
    tracemalloc.start()
    try:
        embed_to_file(source, backbone, tmp_path / f"f{suffix}")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    everything = 2001 * 1500 * 4
    assert peak < everything / 4
    assert load(tmp_path / f"f{suffix}", target_required=False).features.shape == (2001, 1500)


def test_two_runs_never_share_a_file(photos, backbone, tmp_path):
    source, output = open_images(photos), tmp_path / "f.npz"

    def again(done, total):
        embed_to_file(source, backbone, output)

    with pytest.raises(DataError, match=r"f\.npz: another run is writing this file"):
        embed_to_file(source, backbone, output, watch=again)


def test_the_cache_knows_what_features_depend_on(photos, make_network, tmp_path):
    source, cache = open_images(photos), tmp_path / "cache"
    first = load_backbone(str(make_network().path), STATED)
    assert not embed_cached(source, first, cache).cached
    assert embed_cached(open_images(photos), first, cache).cached
    assert embed_cached(source.take(np.arange(3)), first, cache).cached is False
    other_means = load_backbone(str(make_network().path), {"mean": 0.1})
    other_network = load_backbone(str(make_network(seed=1).path), STATED)
    for backbone in (other_means, other_network):
        assert not embed_cached(source, backbone, cache).cached
    assert len(list(cache.glob("*.npz"))) == 4


def test_the_cache_names_what_was_left_out(odd_images, make_network, tmp_path):
    backbone = load_backbone(str(make_network().path), STATED)
    for cached in (False, True):
        made = embed_cached(open_images(odd_images), backbone, tmp_path, Embedding(skip_broken=True))
        assert made.cached is cached
        assert [Path(one.place).name for one in made.broken] == ["cut.jpg", "text.png"]


def test_features_that_are_not_finite_name_the_image(photos, make_network):
    backbone = load_backbone(str(make_network().path), STATED)
    plain = backbone.embed
    backbone.embed = lambda pixels: np.where(np.arange(len(pixels))[:, None] == 2, np.nan, plain(pixels))
    with pytest.raises(DataError, match=r"photos/dark/02\.png: the backbone's features of this image are NaN"):
        embed(open_images(photos), backbone)


def test_features_of_another_backbone_are_refused(photos, make_network, tmp_path):
    backbone = load_backbone(str(make_network().path), STATED)
    embed_to_file(open_images(photos), backbone, tmp_path / "f.npz")
    encoding = load(tmp_path / "f.npz").encoding
    assert load(tmp_path / "f.npz", encoding=encoding).n_rows == 30
    other = load_backbone(str(make_network(seed=3).path), STATED)
    embed_to_file(open_images(photos), other, tmp_path / "g.npz")
    with pytest.raises(DataError, match="made by another backbone or pre-processing"):
        load(tmp_path / "g.npz", encoding=encoding)


def test_archives_are_read_by_numpy_and_mapped_by_us(photos, backbone, tmp_path):
    embed_to_file(open_images(photos), backbone, tmp_path / "f.npz")
    features = load(tmp_path / "f.npz").features
    assert isinstance(features, np.memmap)
    with np.load(tmp_path / "f.npz", allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["features"], features)
        assert archive["labels"].tolist() == ["dark"] * 15 + ["light"] * 15
    with zipfile.ZipFile(tmp_path / "f.npz") as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    content = (tmp_path / "f.npz").read_bytes()
    (tmp_path / "f.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"f\.npz: not a readable \.npz archive"):
        load(tmp_path / "f.npz")
