"""What works without optional packages, and what the rest says: which package, and the extra that installs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import crosshead

PROGRAM = """
import sys
class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
sys.meta_path.insert(0, NotInstalled())
import crosshead, crosshead.linear, crosshead.evaluation, crosshead.cli.main
try:
    import crosshead.nn
except ImportError as error:
    print(error)
"""


def test_the_error_names_the_extra(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(crosshead.__file__).parents[1]))
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout == "crosshead.nn needs PyTorch, which is not installed: pip install 'crosshead[torch]'\n"


def test_nothing_but_nn_asks_for_torch():
    after_asking = "cli/commands/fit/network.py"  # is imported once `fit --backbone cnn` has asked for PyTorch
    package = Path(crosshead.__file__).parent
    others = [path for path in package.rglob("*.py") if package / "nn" not in path.parents]
    others.remove(package / after_asking)
    assert not [path for path in others if "\nimport torch" in path.read_text() or "\nfrom torch" in path.read_text()]


CORE = """
import sys
class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in "torch typer rich pyarrow PIL matplotlib jinja2 onnx pandas".split():
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, NotInstalled())
import crosshead
iris = crosshead.load("iris")
classifier = crosshead.LinearClassifier().fit(iris.features, iris.target)
print(classifier.status_, classifier.score(iris.features, iris.target) > 0.9)
"""


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (
            "crosshead.load('t.csv')",
            "reading tables needs pyarrow, which is not installed: pip install 'crosshead[tables]'",
        ),
        (
            "crosshead.load('a.png', target_required=False)",
            "reading images needs Pillow, which is not installed: pip install 'crosshead[images]'",
        ),
    ],
)
def test_the_readers_name_their_extras(code: str, error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(crosshead.__file__).parents[1]))
    (tmp_path / "t.csv").write_text("a,label\n1,x\n2,y\n")
    Image.new("L", (2, 2)).save(tmp_path / "a.png")
    head = CORE[: CORE.index("iris")]
    program = f"{head}\ntry:\n    {code}\nexcept ValueError as error:\n    print(error)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip().endswith(error)


def test_estimators_need_the_core_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(crosshead.__file__).parents[1]))
    done = subprocess.run([sys.executable, "-c", CORE], capture_output=True, text=True, check=True)
    assert done.stdout == "converged True\n"


def test_the_program_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(crosshead.__file__).parents[1]))
    program = CORE[: CORE.index("import crosshead")] + "from crosshead.cli.start import run\nrun()"
    done = subprocess.run([sys.executable, "-c", program, "--help"], capture_output=True, text=True)
    assert done.returncode == 1
    assert (
        done.stderr
        == "crosshead: error: the command line needs typer, which is not installed: pip install 'crosshead[cli]'\n"
    )
