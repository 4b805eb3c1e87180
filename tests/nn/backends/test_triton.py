"""The Triton kernels only where they are needed; interpreted, and compiled for an H100 that need not be there."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from crosshead.nn import backends
from crosshead.nn.backends import tiles

HERE = Path(__file__).parent
needs_triton = pytest.mark.skipif(not find_spec("triton"), reason="Triton is not installed")


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", "TRITON_DEFAULT_FP_FUSION": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@needs_triton
def test_kernels_in_the_interpreter():
    done = run("-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / "test_triton_tiles.py"), TRITON_INTERPRET="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


@needs_triton
def test_kernels_compile_for_an_h100(tmp_path):
    done = run(str(HERE / "triton_compilation.py"), "90", TRITON_CACHE_DIR=str(tmp_path), TRITON_INTERPRET="0")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len({tuple(line.split()[:3]) for line in lines}) == 24
    for line in lines:
        dtype, *_, instruction, shared = line.split()
        assert int(shared) <= 99 * 1024, line  # what every GPU since the A100 has
        assert dtype == "torch.float32" or instruction == "wgmma.mma", line


def test_nothing_of_the_kernels_is_imported_for_tensors_on_the_cpu():
    """PyTorch may have imported Triton itself."""
    code = (
        "import sys, torch; from crosshead.nn import functional as fused;"
        "x = torch.ones(2, 3, requires_grad=True);"
        "fused.linear_cross_entropy(x, torch.ones(4, 3), torch.tensor([0, 1])).backward();"
        "print([name for name in sys.modules if name.startswith('crosshead.nn.backends.triton')])"
    )
    assert run("-c", code).stdout == "[]\n"


@pytest.fixture
def asked(monkeypatch):
    """What a fake of the Triton backend is asked; it supports what ``asked.supported`` says."""
    fake = SimpleNamespace(supported=True, calls=[])
    fake.supports = lambda *arguments: fake.calls.append(arguments) or fake.supported
    monkeypatch.setitem(sys.modules, "crosshead.nn.backends.triton_tiles", fake)
    monkeypatch.setattr(backends, "triton_tiles", fake, raising=False)
    monkeypatch.setattr(backends, "find_spec", lambda name: name)
    monkeypatch.setattr(backends.native_tiles, "supports", lambda *arguments: False)  # it takes tensors on the CPU
    backends.has_triton.cache_clear()
    yield fake
    backends.has_triton.cache_clear()


def chosen(is_cuda):
    return backends.backend_for("loss", "projection", SimpleNamespace(input=SimpleNamespace(is_cuda=is_cuda)))


def test_cuda_tensors_get_the_kernels_where_they_can(asked):
    assert chosen(True) is asked
    asked.supported = False
    assert chosen(True) is tiles
    assert [call[:2] for call in asked.calls] == [("loss", "projection")] * 2


def test_without_triton_cuda_tensors_get_the_reference(asked, monkeypatch):
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    assert chosen(True) is tiles


def test_triton_can_be_turned_off(asked, monkeypatch):
    monkeypatch.setenv("CROSSHEAD_TRITON", "0")
    assert chosen(True) is tiles
    assert not asked.calls
