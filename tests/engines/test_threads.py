"""Threads: how many, the same bits for any number, and no harm from forks, other threads or the interpreter's lock."""

from __future__ import annotations

import importlib.util
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from crosshead.engines import Engine, PassSums, ReferenceEngine, TrainingData, has_native, make_engine, threads
from crosshead.engines.threads import available_cpus, resolve_threads
from crosshead.losses import LOSSES, get_loss

needs_native = pytest.mark.skipif(
    importlib.util.find_spec("crosshead._native") is None, reason="the native engine is not built"
)
THREADS = (1, 2, 3, 7)
FORK_SECONDS = 20


def data(rows: int = 5000, columns: int = 40, classes: int = 12, dtype: Any = np.float64, **how: Any) -> TrainingData:
    random = np.random.default_rng(7)
    X = random.normal(size=(rows, columns)).astype(dtype)
    if how.get("sparsely"):
        X[random.uniform(size=X.shape) < 0.7] = 0
        X = sparse.csr_matrix(X)
    target = random.integers(0, classes, rows).astype(np.int32)
    return TrainingData(X, target, classes, random.uniform(size=rows))


def parameters(of: TrainingData) -> tuple[Any, Any]:
    random = np.random.default_rng(8)
    return 0.3 * random.normal(size=(of.n_classes, of.n_features)), random.normal(size=of.n_classes)


def bits(sums: PassSums) -> bytes:
    parts = np.array([sums.loss, sums.surrogate, sums.dual])
    return parts.tobytes() + sums.weight_gradient.tobytes() + sums.bias_gradient.tobytes()


def native(of: TrainingData, n_threads: int | None, isa: str = "") -> Any:
    from crosshead.engines.native import NativeEngine

    return NativeEngine(of, n_threads, isa)


class TestHowMany:
    def test_positive_numbers_are_taken_as_they_are(self) -> None:
        assert [resolve_threads(n) for n in (1, 2, 64)] == [1, 2, 64]

    def test_zero_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="n_threads must not be 0"):
            resolve_threads(0)

    @needs_native
    def test_zero_is_an_error_for_the_engine_too(self) -> None:
        with pytest.raises(ValueError, match="n_threads must not be 0"):
            make_engine("native", data(10), 0)

    def test_negative_numbers_count_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(threads, "available_cpus", lambda: 8)
        assert [resolve_threads(n) for n in (-1, -2, -8, -9, -100)] == [8, 7, 1, 1, 1]

    @pytest.mark.parametrize(
        ("text", "count"),
        [
            ("3", 3),
            (" 5 ", 5),
            ("4,2", 4),
            ("", 9),
            ("0", 9),
            ("-2", 9),
            ("many", 9),
            ("2.5", 9),
            ("²", 9),
            ("٣", 9),
            ("007", 7),
        ],
    )
    def test_the_environment(self, text: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(threads, "available_cpus", lambda: 9)
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        assert resolve_threads() == count
        assert resolve_threads(2) == 2  # what the caller says goes first

    @pytest.mark.parametrize("text", ["99999999999", "9" * 5000, str(2**63)])
    def test_more_than_any_machine_has(self, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        assert resolve_threads() == threads.MAX_THREADS
        make_engine("auto", data(10)).scores(np.zeros((12, 40)), np.zeros(12), 0, 10)

    def test_without_an_environment_the_affinity_decides(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
        monkeypatch.setattr(threads, "_quota", lambda path: None)
        assert resolve_threads() == available_cpus() == 3

    @pytest.mark.parametrize(
        ("text", "quota"),
        [("max 100000", None), ("150000 100000", 1.5), ("broken", None), ("", None), ("50000 100000\n", 0.5)],
    )
    def test_the_control_group_has_a_say(
        self, text: str, quota: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "cpu.max").write_text(text)
        assert threads._quota(tmp_path / "cpu.max") == quota
        assert threads._quota(tmp_path / "nowhere") is None
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
        monkeypatch.setattr(threads, "_quota", lambda path: quota)
        assert available_cpus() == {None: 6, 1.5: 2, 0.5: 1}[quota]


class TestWhichEngine:
    def test_names(self) -> None:
        assert isinstance(make_engine("reference", data(10)), ReferenceEngine)
        assert make_engine("reference", data(10)).name == "reference"
        assert make_engine("auto", data(10)).name.startswith("native" if has_native() else "reference")
        with pytest.raises(ValueError, match="unknown engine 'cuda': choose one of auto, native, reference"):
            make_engine("cuda", data(10))

    def test_native_where_it_was_not_built(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("crosshead.engines.has_native", lambda: False)
        assert isinstance(make_engine("auto", data(10)), ReferenceEngine)
        with pytest.raises(ValueError, match="was not built into this installation"):
            make_engine("native", data(10))


@needs_native
class TestTheSameBits:
    @pytest.mark.parametrize("dtype", [np.float64, np.float32])
    @pytest.mark.parametrize("sparsely", [False, True])
    def test_of_a_pass(self, dtype: Any, sparsely: bool) -> None:
        of = data(9000 if sparsely else 5000, dtype=dtype, sparsely=sparsely)
        W, b = parameters(of)
        for name in LOSSES:
            for exact in (True, False):
                found = {bits(native(of, n).evaluate(W, b, get_loss(name), exact=exact)) for n in THREADS}
                assert len(found) == 1, name

    @pytest.mark.parametrize("isa", ["plain", "avx2", "avx512"])
    def test_of_scores_and_gram(self, isa: str) -> None:
        from crosshead import _native

        if not _native.has_instruction_set(isa):
            pytest.skip(f"this processor has no {isa}")
        of = data(columns=60)
        W, b = parameters(of)
        engines = [native(of, n, isa) for n in THREADS]
        assert len({engine.scores(W, b, 0, 5000).tobytes() for engine in engines}) == 1
        assert len({engine.gram(of.features, of.sample_weight).tobytes() for engine in engines}) == 1
        assert len({bits(engine.evaluate(W, b, get_loss("softmax"))) for engine in engines}) == 1

    def test_again_and_again(self) -> None:
        of = data(dtype=np.float32)
        W, b = parameters(of)
        engine = native(of, 7)
        assert len({bits(engine.evaluate(W, b, get_loss("softmax"), exact=False)) for _ in range(30)}) == 1


@needs_native
class TestOthersAtWork:
    def test_passes_of_several_python_threads_do_not_mix(self) -> None:
        kinds = [data(3000, columns=30, classes=c) for c in (3, 5, 20)]
        engines: list[Engine] = [native(of, n) for of in kinds for n in (1, 3)]
        points = [parameters(engine.data) for engine in engines]
        loss = get_loss("softmax")
        expected = [bits(engine.evaluate(*point, loss)) for engine, point in zip(engines, points, strict=True)]

        def work(k: int) -> bool:
            which = k % len(engines)
            return bits(engines[which].evaluate(*points[which], loss)) == expected[which]

        with ThreadPoolExecutor(6) as pool:
            assert all(pool.map(work, range(60)))

    def test_the_interpreter_is_free_during_a_pass(self) -> None:
        """Another Python thread counts while passes run; with the lock held it would stand still for all of each."""
        of = data(20000, columns=200, classes=30)
        W, b = parameters(of)
        engine, ticks, done = native(of, 1), [], threading.Event()

        def count() -> None:
            while not done.wait(0.001):
                ticks.append(time.perf_counter())

        counter = threading.Thread(target=count)
        counter.start()
        inside = 0
        try:
            for _ in range(20):
                began = time.perf_counter()
                engine.evaluate(W, b, get_loss("softmax"))
                ended = time.perf_counter()
                inside += sum(began < tick < ended for tick in ticks)
                if inside > 3:
                    break
        finally:
            done.set()
            counter.join()
        assert inside > 3

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
    @pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
    def test_a_forked_child_computes_too(self) -> None:
        """The pool's threads do not live on in a child; it must not wait for them."""
        of = data()
        W, b = parameters(of)
        engine = native(of, 3)
        expected = bits(engine.evaluate(W, b, get_loss("softmax")))
        child = os.fork()
        if child == 0:
            same = False
            try:
                same = all(bits(engine.evaluate(W, b, get_loss("softmax"))) == expected for _ in range(3))
            finally:
                os._exit(0 if same else 1)
        assert exit_code(child) == 0
        assert bits(engine.evaluate(W, b, get_loss("softmax"))) == expected

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
    @pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
    def test_a_fork_in_the_middle_of_another_threads_pass(self) -> None:
        of = data()
        W, b = parameters(of)
        engine = native(of, 3)
        expected = bits(engine.evaluate(W, b, get_loss("softmax")))
        stop = threading.Event()

        def keep_busy() -> None:
            while not stop.is_set():
                engine.evaluate(W, b, get_loss("softmax"))

        busy = threading.Thread(target=keep_busy)
        busy.start()
        try:
            for _ in range(5):
                child = os.fork()
                if child == 0:
                    same = False
                    try:
                        same = bits(engine.evaluate(W, b, get_loss("softmax"))) == expected
                    finally:
                        os._exit(0 if same else 1)
                assert exit_code(child) == 0
        finally:
            stop.set()
            busy.join()


def exit_code(child: int) -> int:
    """The child's exit code; a child that hangs is killed and counts as −1."""
    deadline = time.monotonic() + FORK_SECONDS
    while time.monotonic() < deadline:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        threading.Event().wait(0.005)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return -1
