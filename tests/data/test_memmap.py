"""Files that are larger than the memory one would give them: mapped, and let go block by block."""

from __future__ import annotations

import gc
import json
import os
import re
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pytest

from crosshead.data import DataError, load, memmap, read_predictions
from crosshead.data.dataset import row_blocks
from crosshead.data.formats.feature_files import FeatureRows, read_feature_archive, write_archive
from crosshead.data.memmap import check_mapped, map_array, refuse_output, refuse_shortened, release
from crosshead.engines import TrainingData, make_engine
from crosshead.linear import LinearClassifier
from crosshead.losses import get_loss

MEGABYTE = 1 << 20
SHORTER = "the file became shorter while it was read"
BACKBONE = {"kind": "onnx", "name": "net.onnx", "output": "f", "fingerprint": 64 * "0", "preprocessing": {}}
needs_native = pytest.mark.skipif(find_spec("crosshead._native") is None, reason="the guard is in the native module")
SMAPS = Path("/proc/self/smaps")


def resident(file: Path) -> int:
    """Bytes of a mapped file that this process holds."""
    entry = SMAPS.read_text().split(str(file))[1]
    return int(re.search(r"Rss:\s+(\d+) kB", entry)[1]) << 10  # type: ignore[index]


@pytest.fixture
def rows(tmp_path: Path) -> np.ndarray:
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).normal(size=(64, MEGABYTE // 8)))
    return np.load(tmp_path / "rows.npy", mmap_mode="r")


@pytest.mark.skipif(not SMAPS.exists(), reason="reads Linux's /proc")
def test_reading_a_mapped_file_holds_no_more_than_a_block(rows: np.ndarray, tmp_path: Path) -> None:
    total, held = 0.0, []
    for first, last in row_blocks(rows):
        held.append(resident(tmp_path / "rows.npy"))
        total += float(rows[first:last].sum())
    held.append(resident(tmp_path / "rows.npy"))
    assert len(held) > 4
    assert max(held) <= 0.3 * rows.nbytes
    assert total == pytest.approx(float(np.asarray(rows).sum()), rel=1e-9)


def test_what_was_released_is_read_again(rows: np.ndarray) -> None:
    before = rows[3:9].copy()
    release(rows[3:9])
    release(rows[::2])
    np.testing.assert_array_equal(rows[3:9], before)


def test_what_may_have_been_written_to_stays(tmp_path: Path, rows: np.ndarray) -> None:
    private = np.load(tmp_path / "rows.npy", mmap_mode="c")
    private[:] = 1.0
    release(private)
    assert (private == 1.0).all()
    for_reading = private[:]
    for_reading.flags.writeable = False
    release(for_reading)
    assert (private == 1.0).all()
    plain = np.full((3, 2), 2.0)
    plain.flags.writeable = False
    release(plain)
    assert (plain == 2.0).all()


def mapped_numbers(path: Path, count: int = 1 << 16) -> Any:
    """0, 1, … in a file, mapped."""
    np.arange(count, dtype=np.float64).tofile(path)
    with path.open("rb") as stream:
        return map_array(stream, np.dtype(np.float64), (count,))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (5,), (4, 3), (2, 3, 4)])
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "u1", "<U3"])
def test_arrays_are_mapped_as_numpy_reads_them(tmp_path: Path, dtype: str, shape: tuple[int, ...], order: Any) -> None:
    values = np.arange(int(np.prod(shape))).reshape(shape).astype(dtype).copy(order)
    np.save(tmp_path / "a.npy", values)
    from crosshead.data.formats.numpy_arrays import load_npy

    found = load_npy(tmp_path / "a.npy")
    np.testing.assert_array_equal(found, np.load(tmp_path / "a.npy"))
    assert found.dtype == values.dtype
    assert found.flags.f_contiguous == np.load(tmp_path / "a.npy").flags.f_contiguous
    assert isinstance(found, np.memmap) == (values.size > 0)


@needs_native
@pytest.mark.parametrize("size", [0, 1000, 1 << 18])
def test_missing_pages_are_zeros_and_are_known(tmp_path: Path, size: int) -> None:
    numbers = mapped_numbers(tmp_path / "a")
    check_mapped(numbers[::2])
    os.truncate(tmp_path / "a", size)
    kept = np.zeros(numbers.size)
    kept[: size // 8] = np.arange(size // 8)
    np.testing.assert_array_equal(numbers, kept)
    with pytest.raises(DataError, match=f"a: {SHORTER}"):
        check_mapped(numbers[::2])
    # A file that has its old length again, as one that was written anew, does not hide that pages were missing.
    os.truncate(tmp_path / "a", numbers.nbytes)
    with pytest.raises(DataError, match="a: a part could not be read: the file was cut and written anew"):
        release(numbers[5:9])


def test_a_file_that_grows_is_fine(tmp_path: Path) -> None:
    numbers = mapped_numbers(tmp_path / "a")
    os.truncate(tmp_path / "a", numbers.nbytes + 5000)
    with refuse_shortened():
        assert numbers.sum() == numbers.size * (numbers.size - 1) / 2
    check_mapped(numbers)


def test_sizes_alone_are_compared_without_the_native_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memmap, "_native", lambda: None)
    numbers = mapped_numbers(tmp_path / "a")
    check_mapped(numbers)
    with pytest.raises(DataError, match=SHORTER), refuse_shortened():
        os.truncate(tmp_path / "a", numbers.nbytes - 1)


def refuse(path: Path) -> None:
    os.truncate(path, 0)
    raise ValueError("all features are zero")


def test_the_reason_takes_the_place_of_what_zeros_lead_to(tmp_path: Path) -> None:
    numbers = mapped_numbers(tmp_path / "a")
    with pytest.raises(DataError, match=SHORTER), refuse_shortened():
        refuse(tmp_path / "a")
    with pytest.raises(ValueError, match="all features are zero"), refuse_shortened():
        refuse(tmp_path / "a")  # which was short before
    del numbers
    gc.collect()
    with refuse_shortened():
        pass


def test_outputs_are_refused_within_a_block_alone(tmp_path: Path) -> None:
    kept = [mapped_numbers(tmp_path / "a")]
    with refuse_shortened():
        refuse_output()

    def cut_and_write() -> None:
        os.truncate(tmp_path / "a", 0)
        kept.clear()  # what is known of a file outlasts its mapping
        gc.collect()
        with refuse_shortened():
            refuse_output()

    with pytest.raises(DataError, match=SHORTER), refuse_shortened():
        cut_and_write()
    refuse_output()


@needs_native
def test_slots_are_used_again(tmp_path: Path) -> None:
    for _ in range(200):
        assert mapped_numbers(tmp_path / "a", 10).sum() == 45
    many = [mapped_numbers(tmp_path / "a", 10) for _ in range(150)]
    assert max(numbers._mmap._slot for numbers in many) < 300
    os.truncate(tmp_path / "a", 0)
    assert [numbers.sum() for numbers in many] == [0] * 150
    assert all(numbers._mmap.fault for numbers in many)


def save_pair(folder: Path) -> Path:
    np.save(folder / "X.npy", np.random.default_rng(0).normal(size=(3000, 60)))
    np.save(folder / "y.npy", np.arange(3000) % 3)
    return folder / "X.npy"


def save_labels(folder: Path) -> Path:
    return save_pair(folder).with_name("y.npy")


def save_features(folder: Path) -> Path:
    X = np.random.default_rng(0).normal(size=(3000, 60)).astype(np.float32)
    part = FeatureRows(X, [str(row) for row in range(3000)], np.arange(3000) % 3)
    write_archive(folder / "X.npz", part, None, BACKBONE)
    return folder / "X.npz"


def save_table(folder: Path, writer: Any = pa.ipc.new_file) -> Path:
    columns = {name: np.random.default_rng(0).normal(size=20_000) for name in "abc"}
    table = pa.table({**columns, "y": np.arange(20_000) % 3})
    with writer(folder / "X.arrow", table.schema) as file:
        file.write_table(table)
    return folder / "X.arrow"


def save_stream(folder: Path) -> Path:
    return save_table(folder, pa.ipc.new_stream)


@needs_native
@pytest.mark.parametrize("save", [save_pair, save_labels, save_features, save_table, save_stream])
@pytest.mark.parametrize("share", [0, 0.5])
def test_every_reader_refuses_a_file_that_is_cut(tmp_path: Path, cutter: Any, save: Any, share: float) -> None:
    path = save(tmp_path)
    source = f"{tmp_path / 'X.npy'},{tmp_path / 'y.npy'}" if path.suffix == ".npy" else path
    assert load(source).n_rows >= 3000
    cutter.when_mapped(path, int(share * path.stat().st_size))
    with pytest.raises(DataError, match=f"{path.name}: {SHORTER}"):
        load(source)


@needs_native
def test_predictions_that_are_cut(tmp_path: Path, cutter: Any) -> None:
    np.save(tmp_path / "P.npy", np.full((50_000, 4), 0.25))
    np.save(tmp_path / "y.npy", np.arange(50_000) % 4)
    found = read_predictions(f"{tmp_path / 'P.npy'},{tmp_path / 'y.npy'}")
    next(found.blocks(10_000))
    os.truncate(tmp_path / "P.npy", 10_000)
    with pytest.raises(DataError, match=rf"P\.npy: {SHORTER}"):
        next(found.blocks(10_000))
    np.save(tmp_path / "P.npy", np.full((50_000, 4), 0.25))
    cutter.when_mapped(tmp_path / "y.npy", 0)
    with pytest.raises(DataError, match=rf"y\.npy: {SHORTER}"):
        read_predictions(f"{tmp_path / 'P.npy'},{tmp_path / 'y.npy'}")


@needs_native
@pytest.mark.parametrize("engine", ["native", "reference"])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_pass_over_a_file_that_is_cut(rows_on_disk: tuple[Path, Path], engine: str, threads: int) -> None:
    data = load("{},{}".format(*rows_on_disk))
    runner = make_engine(engine, TrainingData(data.features, data.target.astype(np.int32), 3), threads)
    weight, bias = np.zeros((3, 60)), np.zeros(3)
    runner.evaluate(weight, bias, get_loss("softmax"))
    os.truncate(rows_on_disk[0], 100_000)
    for read in (
        lambda: runner.evaluate(weight, bias, get_loss("softmax")),
        lambda: runner.scores(weight, bias, 2000, 3000),
        lambda: runner.gram(data.features, np.ones(3000)),
    ):
        with pytest.raises(DataError, match=rf"X\.npy: {SHORTER}"):
            read()


@needs_native
def test_an_estimator_refuses_a_file_that_is_cut(rows_on_disk: tuple[Path, Path]) -> None:
    data = load("{},{}".format(*rows_on_disk))
    fitted = LinearClassifier(tol=1e-2).fit(data.features, data.target)

    def cut(_: Any) -> None:
        os.truncate(rows_on_disk[0], 100_000)

    estimator = LinearClassifier(alpha=1e-6, tol=1e-9, callback=cut)
    with pytest.raises(DataError, match=rf"X\.npy: {SHORTER}"):
        estimator.fit(data.features, data.target)
    assert not hasattr(estimator, "coef_")
    with pytest.raises(DataError, match=rf"X\.npy: {SHORTER}"):
        fitted.predict(data.features)


def test_labels_of_a_table_do_not_hold_the_file(tmp_path: Path) -> None:
    data = load(save_table(tmp_path))
    gc.collect()
    assert not memmap._live
    assert data.target[:4].tolist() == [0, 1, 2, 0]


@pytest.mark.parametrize("name", ["a", "ab", "abc", "abcd"])
def test_features_lie_aligned_in_their_archive(tmp_path: Path, name: str) -> None:
    X = np.arange(12, dtype=np.float32).reshape(4, 3)
    write_archive(tmp_path / "f.npz", FeatureRows(X, [name] * 4, np.arange(4)), None, BACKBONE)
    with np.load(tmp_path / "f.npz") as archive:
        np.testing.assert_array_equal(archive["features"], X)
    data = read_feature_archive(tmp_path / "f.npz")
    assert isinstance(data.features, np.memmap)
    assert data.features.ctypes.data % 64 == 0


def test_features_that_do_not_lie_aligned_are_read_into_memory(tmp_path: Path) -> None:
    X = np.arange(12, dtype=np.float32).reshape(4, 3)
    arrays = {"features": X, "names": np.array(list("abcd")), "backbone": np.array(json.dumps(BACKBONE))}
    for name in ("f", "fg", "fgh", "fghi"):  # before the features: one of these lengths is not aligned
        np.savez(tmp_path / "f.npz", **{name: np.zeros(3, np.uint8)}, **arrays)
        features = read_feature_archive(tmp_path / "f.npz").features
        np.testing.assert_array_equal(features, X)
        assert features.flags.aligned


def run(*lines: str) -> subprocess.CompletedProcess[str]:
    """A process of its own, which maps the file `a` of 80,000 bytes as `ours` and `b` as `theirs`, not by us."""
    first = (
        "import faulthandler, os, resource, signal, tempfile",
        "import numpy as np",
        "from crosshead.data.memmap import map_array",
        "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))",
        "os.chdir(tempfile.mkdtemp())",
        "for name in 'ab': np.ones(10_000).tofile(name)",
        "theirs = np.memmap('b', float, 'r')",
        "def map_ours():",
        "    with open('a', 'rb') as stream:",
        "        return map_array(stream, np.dtype(float), (10_000,))",
    )
    return subprocess.run([sys.executable, "-c", "\n".join((*first, *lines))], capture_output=True, text=True)


OURS_IS_CUT = ("os.truncate('a', 0)", "assert ours.sum() == 0", "print('survived', flush=True)")
THEIRS_IS_CUT = ("os.truncate('b', 0)", "theirs.sum()")


@needs_native
class TestOthersSignals:
    def test_a_mapping_that_is_not_ours_ends_the_process_as_before(self) -> None:
        ended = run("ours = map_ours()", *OURS_IS_CUT, *THEIRS_IS_CUT)
        assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGBUS, "survived\n", "")

    def test_addresses_that_were_ours_are_guarded_no_longer(self) -> None:
        ended = run(
            "ours = map_ours()",
            "del ours",
            "theirs = np.memmap('b', float, 'r')",
            *THEIRS_IS_CUT,
        )
        assert ended.returncode == -signal.SIGBUS

    @pytest.mark.parametrize("again", ["", "faulthandler.disable(); faulthandler.enable(); ours = map_ours()"])
    def test_the_handler_before_ours_is_called(self, again: str) -> None:
        ended = run("faulthandler.enable()", "ours = map_ours()", again, *OURS_IS_CUT, *THEIRS_IS_CUT)
        assert (ended.returncode, ended.stdout) == (-signal.SIGBUS, "survived\n")
        assert ended.stderr.count("Fatal Python error: Bus error") == 1

    def test_a_signal_that_is_sent_goes_to_the_handler_before_ours(self) -> None:
        sent = "os.kill(os.getpid(), signal.SIGBUS)"
        ended = run(
            "signal.signal(signal.SIGBUS, lambda *_: print('handled', flush=True))",
            "ours = map_ours()",
            sent,
            *OURS_IS_CUT,
        )
        assert (ended.returncode, ended.stdout) == (0, "handled\nsurvived\n")
        assert run("signal.signal(signal.SIGBUS, signal.SIG_IGN)", "ours = map_ours()", sent).returncode == 0
        assert run("ours = map_ours()", sent).returncode == -signal.SIGBUS

    def test_a_child_is_guarded_too(self) -> None:
        ended = run(
            "ours = map_ours()",
            "child = os.fork()",
            "if child == 0:",
            *(f"    {line}" for line in OURS_IS_CUT),
            "    os._exit(0)",
            "assert os.waitpid(child, 0)[1] == 0",
        )
        assert (ended.returncode, ended.stdout) == (0, "survived\n")


def test_files_are_mapped_in_one_place() -> None:
    package = Path(memmap.__file__).parents[1]
    found = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if re.search(r"np\.memmap\(|\(mmap\.mmap\)|mmap_mode|memory_map\(|mmap\.mmap\(", path.read_text())
    }
    assert found == {
        "cli/commands/fit/network_images.py",
        "data/memmap.py",
    }  # the former a file without a name, of its own
