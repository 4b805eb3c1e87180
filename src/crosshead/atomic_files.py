"""Atomic outputs: a file or folder appears once it is complete; otherwise the previous one remains.

A run writes to a hidden name beside the output, ``.NAME.TOKEN.tmp``, holds a lock (flock) on it, and moves it into
place at the end. The lock of a killed run is released by the system, and the next run that writes the same output
removes its files. Locked files belong to a running process and are not removed, nor are files on file systems without
locks.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import os
import re
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ASKED: list[Callable[[], None]] = []
"""Functions called when an output is complete, before it gets its name; an exception prevents it. Modules that know
reasons to discard an output add a function; this module imports none of them."""

_OF_THE_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS})
_TOKEN = "0123456789abcdef"  # replaced by as many random digits
_SUFFIX = f"{_TOKEN}.tmp"
_LONGEST_NAME = 255  # if the system does not tell
_EXCHANGE = 2  # RENAME_EXCHANGE of Linux's renameat2 and RENAME_SWAP of macOS's renamex_np alike
_AT_FDCWD = -100


@contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Context that adds the file name to errors of a full or failing disk, which have none.

    Examples
    --------
    >>> with writing("model"):  # doctest: +IGNORE_EXCEPTION_DETAIL
    ...     raise OSError(errno.ENOSPC, "No space left on device")
    Traceback (most recent call last):
    ...
    OSError: [Errno 28] No space left on device: 'model'
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _OF_THE_DISK:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


@contextmanager
def atomic_write(path: Path | str) -> Iterator[Path]:
    """Context with the name of an empty file to write to, which becomes ``path`` when it ends without an exception.

    The file is synced to the disk before it gets its name. Its permissions are those of the file that it replaces, else
    ``rw-rw-rw-`` less the umask. A link remains a link: the file that it points to is replaced.

    Raises
    ------
    DataError
        If the content may come from missing pages of a mapped file, see `crosshead.data.memmap`.
    OSError
        With ``path``; before the context begins if that is write-protected, a folder, a pipe or a device.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     output = Path(folder) / "numbers.csv"
    ...     with atomic_write(output) as temporary:
    ...         _ = temporary.write_text("1,2,3")
    ...         before = output.exists()
    ...     before, output.read_text(), os.listdir(folder)
    (False, '1,2,3', ['numbers.csv'])
    """
    with _temporary(path, is_folder=False) as (place, temporary, descriptor):
        yield temporary
        _ask()
        os.fsync(descriptor)
        os.replace(temporary, place)
        _sync(place.parent)


@contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """Context with the name of an empty folder to write files to, which becomes ``path`` at the end.

    An existing folder is replaced as a whole: exchanged in one step if the system supports it (Linux, macOS). Otherwise
    it is first moved to `backup_of(path)`, where readers find it if the run is killed between the two renames.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_folder(Path(folder) / "model") as temporary:
    ...         _ = (temporary / "weights").write_text("1,2,3")
    ...     os.listdir(folder), os.listdir(Path(folder) / "model")
    (['model'], ['weights'])
    """
    with _temporary(path, is_folder=True) as (place, temporary, _):
        yield temporary
        _ask()
        for file in (*temporary.iterdir(), temporary):
            _sync(file)
        _put_in_place(temporary, place)
        # A backup of an earlier, killed run must not be taken for this folder once this one is removed.
        with suppress(OSError):
            _remove(backup_of(place))
        _sync(place.parent)


def _ask() -> None:
    for function in ASKED:
        function()


def backup_of(folder: Path) -> Path:
    """The temporary location of the old folder on systems that cannot exchange two folders in one step."""
    return hidden_sibling(folder, "previous")


def hidden_sibling(path: Path, suffix: str) -> Path:
    """The path ``.NAME.SUFFIX`` beside ``path``; the end of a long name is replaced by a digest.

    Examples
    --------
    >>> hidden_sibling(Path("data/features.npz"), "partial").as_posix()
    'data/.features.npz.partial'
    """
    return path.with_name(f".{_stem(path, len(suffix))}.{suffix}")


def is_temporary(name: str, path: Path) -> bool:
    """Whether a name is that of a temporary file or folder for ``path``, of a running or killed run.

    Examples
    --------
    >>> is_temporary(".a.csv.0123456789abcdef.tmp", Path("a.csv")), is_temporary(".a.csv.tmp", Path("a.csv"))
    (True, False)
    """
    return _temporary_names(path).fullmatch(name) is not None


def _temporary_names(path: Path) -> re.Pattern[str]:
    beginning, end = (re.escape(text) for text in hidden_sibling(path, _SUFFIX).name.rsplit(_TOKEN, 1))
    return re.compile(f"{beginning}[0-9a-f]{{{len(_TOKEN)}}}{end}")


def _stem(path: Path, n_suffix: int) -> str:
    """The name, or its beginning and a digest, such that ``.STEM.`` and a suffix do not exceed the limit of names."""
    try:
        longest = os.pathconf(path.parent, "PC_NAME_MAX")
    except OSError:
        longest = _LONGEST_NAME
    room = longest - len("..") - n_suffix
    name = os.fsencode(path.name)
    if len(name) <= room:
        return path.name
    digest, beginning = hashlib.sha256(name).hexdigest()[:16], path.name
    while len(os.fsencode(beginning)) > room - len(digest) - 1:
        beginning = beginning[:-1]
    return f"{beginning}-{digest}"


@contextmanager
def _temporary(path: Path | str, *, is_folder: bool) -> Iterator[tuple[Path, Path, int]]:
    """The target of ``path``, a new file or folder beside it, and a descriptor that holds its lock.

    Anything with the temporary name at the end is removed.
    """
    place = Path(os.path.realpath(path))
    with writing(path), _output_name_in_errors(path, place):
        mode = _mode_of(path, is_folder=is_folder)
        _remove_leftovers(place)
        temporary, descriptor = _create(place, mode, is_folder=is_folder)
        try:
            yield place, temporary, descriptor
        finally:
            with suppress(OSError):  # after an exchange it is the old folder, after a rename nothing
                _remove(temporary)
            os.close(descriptor)


@contextmanager
def _output_name_in_errors(path: Path | str, place: Path) -> Iterator[None]:
    """Context that replaces the temporary name in errors by that of the output."""
    try:
        yield
    except OSError as error:
        if isinstance(error.filename, str | Path) and is_temporary(os.path.basename(error.filename), place):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def _mode_of(path: Path | str, *, is_folder: bool) -> int | None:
    """The permissions of the file to be replaced, None if there is none; OSError if it must not be replaced."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    if is_folder and not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    if not is_folder and stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not is_folder and not stat.S_ISREG(found.st_mode):
        raise FileExistsError(errno.EEXIST, "a pipe or a device is in the way", str(path))
    if not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, "it is write-protected", str(path))
    return stat.S_IMODE(found.st_mode) & 0o777


def _create(place: Path, mode: int | None, *, is_folder: bool) -> tuple[Path, int]:
    """Create a file or folder beside ``place``, with these permissions or by the umask, and lock it."""
    while True:
        temporary = hidden_sibling(place, _SUFFIX.replace(_TOKEN, os.urandom(len(_TOKEN) // 2).hex()))
        descriptor = _made(temporary, mode, is_folder=is_folder)
        if descriptor is None:
            continue
        if _take_lock(descriptor, temporary, without_locks=True):
            if mode is not None:
                with suppress(OSError):  # some file systems have no permissions
                    os.fchmod(descriptor, mode | (0o700 if is_folder else 0o600))
            return temporary, descriptor
        os.close(descriptor)  # before it was locked, another run removed it as a leftover


def _made(temporary: Path, mode: int | None, *, is_folder: bool) -> int | None:
    """A descriptor of a new file or folder; None if the name is taken, or another run has just removed it."""
    if not is_folder:
        with suppress(FileExistsError):
            return os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else mode | 0o600)
        return None
    try:
        os.mkdir(temporary, 0o777 if mode is None else mode | 0o700)
    except FileExistsError:
        return None
    with suppress(FileNotFoundError):
        return os.open(temporary, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    return None


def _take_lock(descriptor: int, path: Path, *, without_locks: bool) -> bool:
    """Lock an open file; whether no other run holds the lock and ``path`` still leads to the file.

    ``without_locks`` is the result on file systems without locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except (BlockingIOError, FileNotFoundError):
        return False
    except OSError:
        return without_locks


def _remove_leftovers(place: Path) -> None:
    """Remove leftovers of killed runs that wrote to ``place``; files that cannot be removed remain."""
    with suppress(OSError), os.scandir(place.parent) as entries:
        names = _temporary_names(place)
        left = [Path(entry.path) for entry in entries if names.fullmatch(entry.name)]
        for path in left:
            with suppress(OSError):
                _remove_if_left_behind(path)


def _remove_if_left_behind(path: Path) -> None:
    found = os.lstat(path)
    is_folder = stat.S_ISDIR(found.st_mode)
    if not (is_folder or stat.S_ISREG(found.st_mode)) or found.st_uid != os.geteuid():
        return
    access = os.O_RDONLY | os.O_DIRECTORY if is_folder else os.O_RDWR  # to lock a file, NFS needs it open for writing
    descriptor = os.open(path, access | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if _take_lock(descriptor, path, without_locks=False):
            _remove(path)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    """Remove a file, a link, or a folder with its content."""
    if path.is_symlink() or not path.is_dir():
        path.unlink()
    else:
        path.chmod(0o700)
        shutil.rmtree(path)


def _put_in_place(finished: Path, folder: Path) -> None:
    """Rename ``finished`` to ``folder``; a non-empty folder gets the name of ``finished``, or moves to its backup."""
    try:  # first, as its content may change between a check and the rename
        finished.rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        if not _exchange(finished, folder):
            _rename_twice(finished, folder)


def _rename_twice(finished: Path, folder: Path) -> None:
    backup = backup_of(folder)
    with suppress(FileNotFoundError):
        _remove(backup)
    folder.rename(backup)
    finished.rename(folder)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; False if the system does not support it."""
    library = ctypes.CDLL(None, use_errno=True)
    first, second = os.fsencode(one), os.fsencode(other)
    if sys.platform == "darwin" and hasattr(library, "renamex_np"):
        return bool(library.renamex_np(first, second, _EXCHANGE) == 0)
    if hasattr(library, "renameat2"):
        return bool(library.renameat2(_AT_FDCWD, first, _AT_FDCWD, second, _EXCHANGE) == 0)
    return False


def _sync(path: Path) -> None:
    """Sync a file, or the entries of a folder, to the disk, if it can be opened and the system supports it."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:  # a folder with permission to write but not to list
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # folders on some network file systems
            raise
    finally:
        os.close(descriptor)
