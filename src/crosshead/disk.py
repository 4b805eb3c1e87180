"""What went wrong with the disk, said of the file that was to be written."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crosshead.data.mapped import refuse_output

_OF_THE_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS})


@contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Name the file in errors of a full or failing disk, which the system raises without a name.

    Raises DataError where what was written may come from missing pages, see `refuse_output`.

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
        refuse_output()
    except OSError as error:
        if error.errno not in _OF_THE_DISK:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
