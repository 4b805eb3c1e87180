"""Outputs that a run was killed at, that another run writes too, and that must not be replaced."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import crosshead
from crosshead import atomic_files
from crosshead.atomic_files import atomic_folder, atomic_write, backup_of, hidden_sibling, is_temporary

TOKEN = "0123456789abcdef"

# A child is killed before the n-th change of the file system, for n from 0 until a child lives to the end.
KILLED = """
    import os, pathlib, signal, sys
    from crosshead import atomic_files
    from crosshead.atomic_files import atomic_folder, atomic_write

    place, what, old, exchange = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "old", sys.argv[4] == "exchange"
    if not exchange:
        atomic_files._exchange = lambda one, other: False
    os.fsync = lambda descriptor: None  # a killed process loses nothing that the system has; this saves seconds
    left = None

    def counted(function):
        def call(*arguments, **options):
            global left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left = None if left is None else left - 1
            return function(*arguments, **options)
        return call

    def write(content):
        if what == "file":
            with atomic_write(place) as temporary, temporary.open("wb", buffering=0) as stream:
                write = counted(stream.write)
                write(content[:3])
                write(content[3:])
        else:
            with atomic_folder(place) as temporary:
                for name in ("one", "two"):
                    counted(pathlib.Path.write_bytes)(temporary / name, content)

    def found():
        seen = place
        if not seen.exists() and atomic_files.backup_of(place).exists():
            seen = atomic_files.backup_of(place)
        if not seen.exists():
            return "none"
        files = [seen] if what == "file" else [seen / "one", seen / "two"]
        contents = {file.read_bytes() for file in files}
        assert len(contents) == 1 and (what == "file" or len(list(seen.iterdir())) == 2), contents
        return contents.pop().decode()

    names = ["open", "close", "mkdir", "replace", "rename", "unlink", "rmdir", "fsync", "fchmod", "chmod"]
    library = {name: getattr(os, name) for name in names}
    flock = atomic_files.fcntl.flock
    for step in range(1000):
        if old:
            write(b"older")
        child = os.fork()
        if child == 0:
            left = step
            for name in names:
                setattr(os, name, counted(library[name]))
            atomic_files.fcntl.flock = counted(flock)
            write(b"newer")
            os._exit(0)
        killed = os.waitpid(child, 0)[1] == signal.SIGKILL
        litter = len(os.listdir(place.parent)) - place.exists()
        seen = found()
        write(b"third")
        assert found() == "third"
        print(seen, litter, len(os.listdir(place.parent)) - 1)
        if not killed:
            break
        if not old:
            place.unlink() if what == "file" else atomic_files._remove(place)
"""


@pytest.mark.parametrize(
    ("what", "exchange"), [("file", "exchange"), ("folder", "exchange"), ("folder", "two renames")]
)
@pytest.mark.parametrize("before", ["old", "none"])
def test_a_killed_run_leaves_the_old_or_the_new_and_the_next_one_no_litter(
    tmp_path: Path, what: str, before: str, exchange: str
) -> None:
    home = Path(crosshead.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(KILLED), tmp_path / "x.out", what, before, exchange],
        env={**os.environ, "PYTHONPATH": str(home), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    seen, during, after = zip(*(line.split() for line in done.stdout.splitlines()), strict=True)
    first = "older" if before == "old" else "none"
    turn = seen.index("newer")
    assert set(seen[:turn]) == {first}
    assert set(seen[turn:]) == {"newer"}
    assert "1" in during  # kills did leave something …
    assert set(after) == {"0"}  # … which the next run removed
    assert during[-1] == "0"


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """A file that a killed run left which wrote to `a.csv`."""
    path = tmp_path / f".a.csv.{TOKEN}.tmp"
    path.write_text("half")
    return path


def write(path: Path, text: str = "new") -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(text)


def test_only_what_killed_runs_left_of_the_same_output_is_removed(tmp_path: Path, left: Path) -> None:
    others = [".b.csv.{}.tmp", ".a.csv.{}.tmp2", ".a.csv.x{}.tmp", "a.csv.{}.tmp", "..a.csv.{}.tmp", ".a.csv.{}0.tmp"]
    others = [name.format(TOKEN) for name in others] + [f".a.csv.{TOKEN.upper()}.tmp", ".a.csv.tmp"]
    for name in others:
        (tmp_path / name).write_text("mine")
    folder = tmp_path / f".a.csv.{TOKEN[::-1]}.tmp"
    folder.mkdir()
    (folder / "weights").write_text("half")
    write(tmp_path / "a.csv")
    assert sorted(os.listdir(tmp_path)) == sorted(["a.csv", *others])


def test_what_a_living_run_writes_to_stays(tmp_path: Path, left: Path) -> None:
    with left.open() as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        write(tmp_path / "a.csv")
        assert sorted(os.listdir(tmp_path)) == [left.name, "a.csv"]
    write(tmp_path / "a.csv")
    assert os.listdir(tmp_path) == ["a.csv"]


@pytest.mark.parametrize("write_one", [atomic_write, atomic_folder])
def test_runs_that_write_the_same_output_do_not_disturb_each_other(tmp_path: Path, write_one) -> None:
    """Each finds another's temporary just made, being written to, or gone; every one ends, and the last one stays."""
    failures = []

    def run(number: int) -> None:
        try:
            for _ in range(30):
                with write_one(tmp_path / "x.out") as temporary:
                    (temporary if write_one is atomic_write else temporary / "file").write_text(str(number) * 1000)
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert os.listdir(tmp_path) == ["x.out"]
    made = tmp_path / "x.out" if write_one is atomic_write else tmp_path / "x.out" / "file"
    text = made.read_text()
    assert text == text[0] * 1000


def test_a_folder_that_another_run_makes_first_is_replaced(tmp_path: Path) -> None:
    """It appears after this run has begun, so that nothing was there when it looked."""
    with atomic_folder(tmp_path / "x.out") as temporary:
        (temporary / "file").write_text("mine")
        with atomic_folder(tmp_path / "x.out") as other:
            (other / "file").write_text("another's")
            (other / "more").write_text("")
    assert os.listdir(tmp_path) == ["x.out"]
    assert [file.name for file in (tmp_path / "x.out").iterdir()] == ["file"]
    assert (tmp_path / "x.out" / "file").read_text() == "mine"


def test_without_locks_nothing_is_removed(tmp_path: Path, left: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", none)
    write(tmp_path / "a.csv")
    assert sorted(os.listdir(tmp_path)) == [left.name, "a.csv"]


@pytest.mark.parametrize("removed", [True, False])
def test_a_temporary_taken_for_a_dead_runs_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removed: bool
) -> None:
    """Another run locks it, and removes it, between its creation and its lock."""
    flock, calls, other = fcntl.flock, [], []

    def sweep(descriptor: int, operation: int) -> None:
        calls.append(operation)
        if len(calls) == 1:
            (temporary,) = tmp_path.glob(".x.*.tmp")
            if removed:
                temporary.unlink()
            else:
                other.append(temporary.open())
                flock(other[0], fcntl.LOCK_EX)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", sweep)
    write(tmp_path / "x")
    assert len(calls) == 2
    for stream in other:
        stream.close()
    write(tmp_path / "x")
    assert os.listdir(tmp_path) == ["x"]


def test_links_pipes_and_what_others_own_are_not_touched(
    tmp_path: Path, left: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thoughts").write_text("mine")
    link, pipe = (tmp_path / f".a.csv.{TOKEN[:-1]}{end}.tmp" for end in "01")
    link.symlink_to(precious)
    os.mkfifo(pipe)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    write(tmp_path / "a.csv")
    assert sorted(os.listdir(tmp_path)) == sorted([link.name, pipe.name, left.name, "a.csv", "precious"])
    monkeypatch.undo()
    write(tmp_path / "a.csv")
    assert sorted(os.listdir(tmp_path)) == sorted([link.name, pipe.name, "a.csv", "precious"])
    assert (precious / "thoughts").read_text() == "mine"


@pytest.mark.parametrize("name", ["n" * 255, "é" * 120, "n" * 233, "n" * 234])
def test_names_may_be_as_long_as_the_system_has_them(tmp_path: Path, name: str) -> None:
    for end in "ab":  # names that differ at their end only
        place = tmp_path / (name[:-1] + end)
        with atomic_write(place) as temporary:
            temporary.write_text(end)
            assert is_temporary(temporary.name, place)
            assert not is_temporary(temporary.name, tmp_path / "n")
        hidden_sibling(place, "partial").write_text("")
        hidden_sibling(place, "partial").unlink()
    assert sorted(os.listdir(tmp_path)) == sorted([name[:-1] + "a", name[:-1] + "b"])
    with atomic_folder(tmp_path / ("f" * 255)) as temporary:
        (temporary / "file").write_text("")
    assert backup_of(tmp_path / ("f" * 255)) != backup_of(tmp_path / ("f" * 254))


@pytest.fixture(params=[0o022, 0o077, 0o002])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_permissions_are_what_the_umask_leaves_or_those_of_the_old(tmp_path: Path, umask: int) -> None:
    write(tmp_path / "new")
    assert mode_of(tmp_path / "new") == 0o666 & ~umask
    with atomic_folder(tmp_path / "folder") as temporary:
        (temporary / "file").write_text("")
    assert mode_of(tmp_path / "folder") == 0o777 & ~umask
    assert mode_of(tmp_path / "folder" / "file") == 0o666 & ~umask
    for mode in (0o600, 0o664, 0o755):
        (tmp_path / "new").chmod(mode)
        (tmp_path / "folder").chmod(mode | 0o300)
        with atomic_write(tmp_path / "new") as temporary:
            assert mode_of(temporary) == mode  # from the start: nobody else reads what is being written
        with atomic_folder(tmp_path / "folder") as temporary:
            assert mode_of(temporary) == mode | 0o300
        assert mode_of(tmp_path / "new") == mode
        assert mode_of(tmp_path / "folder") == mode | 0o300


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "real").write_text("old")
    (tmp_path / "link").symlink_to("far/real")
    (tmp_path / "dangling").symlink_to("far/coming")
    write(tmp_path / "link")
    write(tmp_path / "dangling")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "dangling").is_symlink()
    assert [(tmp_path / "far" / name).read_text() for name in ("real", "coming")] == ["new", "new"]
    assert sorted(os.listdir(tmp_path / "far")) == ["coming", "real"]


def test_what_must_not_be_replaced_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    os.mkfifo("pipe")
    Path("file").write_text("old")
    Path("round").symlink_to("round")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("socket")
    for name in ("folder", "pipe", "/dev/null", "round", "absent/file", "socket"):
        with pytest.raises(OSError) as caught:  # noqa: PT011
            write(Path(name))
        assert caught.value.filename == name
    for name in ("pipe", "/dev/null", "file", "absent/folder"):
        with pytest.raises(OSError) as caught, atomic_folder(name):  # noqa: PT011
            pass
        assert caught.value.filename == name
    Path("file").chmod(0o444)
    monkeypatch.setattr(os, "access", lambda path, _: os.stat(path).st_mode & 0o200 != 0)  # root may write anywhere
    with pytest.raises(PermissionError) as caught:
        write(Path("file"))
    assert caught.value.filename == "file"
    assert Path("file").read_text() == "old"
    assert sorted(os.listdir()) == ["file", "folder", "pipe", "round", "socket"]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("old", [True, False])
def test_an_exception_leaves_what_was_there(tmp_path: Path, failure: type[BaseException], old: bool) -> None:
    if old:
        write(tmp_path / "x", "old")

    def fail() -> None:
        with atomic_write(tmp_path / "x") as temporary:
            temporary.write_text("half")
            raise failure

    with pytest.raises(failure):
        fail()
    assert os.listdir(tmp_path) == (["x"] if old else [])
    assert not old or (tmp_path / "x").read_text() == "old"


@pytest.mark.parametrize("step", ["open", "fsync", "replace"])
def test_a_disk_that_is_full_or_fails_is_told_of_the_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Errors about the temporary name the output instead."""
    write(tmp_path / "x", "old")
    function = getattr(os, step)

    def fail(path: object, *arguments: object, **options: object) -> object:
        if step == "open" and ".tmp" not in str(path):
            return function(path, *arguments, **options)
        named = () if isinstance(path, int) else (str(path),)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *named)

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match=r"No space left on device: '.*/x'$"):
        write(tmp_path / "x")
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["x"]
    assert (tmp_path / "x").read_text() == "old"


def test_an_old_folder_that_is_write_protected_inside_goes_too(tmp_path: Path) -> None:
    left = tmp_path / f".m.{TOKEN}.tmp"
    left.mkdir()
    (left / "weights").write_text("")
    left.chmod(0o500)
    with atomic_folder(tmp_path / "m"):
        pass
    assert os.listdir(tmp_path) == ["m"]


def test_a_folder_that_cannot_be_listed_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object) -> object:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    write(tmp_path / "x")
    assert (tmp_path / "x").read_text() == "new"


def test_the_module_is_the_only_one_that_moves_files_into_place() -> None:
    home = Path(atomic_files.__file__).parent
    for path in home.rglob("*.py"):
        if path != Path(atomic_files.__file__):
            text = path.read_text()
            for word in ("os.replace(", "os.rename(", ".tmp", "token_hex", "mkstemp", "mkdtemp", "NamedTemporaryFile"):
                assert word not in text, f"{path}: {word}; write through crosshead.atomic_files"


def test_it_imports_nothing_that_writes_through_it() -> None:
    program = (
        "import crosshead.atomic_files, sys; print([name for name in sys.modules if name.startswith('crosshead.')])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout == "['crosshead.atomic_files']\n"
