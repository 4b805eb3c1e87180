"""Invalid footers of Parquet files, written by hand in Thrift's compact protocol."""

from __future__ import annotations

import pytest

from crosshead.data import DataError
from crosshead.data.formats.parquet_sizes import check_sizes

LIST_OF_ONE_LIST = b"\x19"
"""A head of a field, 1 further on and of type list; and of a list, of one element of type list."""


@pytest.mark.parametrize(
    "footer",
    [
        b"",
        b"\0",
        LIST_OF_ONE_LIST * 10_000,
        b"\x29\x15\x02\0",  # the elements of the schema are one number
        b"\x29\x0c\x25\x02\0",  # no schema, and as row groups a number
        b"\x29\x0c\x29\x15\x02\0",  # as row groups a list of one number
    ],
)
def test_footers_that_are_none(tmp_path, footer):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    with pytest.raises(DataError, match=r"a\.parquet: not a readable Parquet file \(its footer is damaged"):
        check_sizes(path)
