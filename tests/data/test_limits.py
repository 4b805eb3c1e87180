"""Small files that would fill the memory are rejected before, in one line with advice."""

from __future__ import annotations

import gzip
import io
import os
import resource
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from PIL import Image

from crosshead.data import DataError, load, read_predictions
from crosshead.data.formats.npz_archive import open_archive
from crosshead.data.limits import FREE_BYTES, RATIO, allowance, check_width, size_text

MEGABYTE = 1 << 20
BOMB = 1 << 27  # bytes unpacked, of a thousandth packed


def packed(path: Path, head: bytes, piece: bytes) -> None:
    piece *= MEGABYTE // len(piece)
    with gzip.open(path, "wb", 3) as stream:
        stream.write(head)
        for _ in range(BOMB // MEGABYTE):
            stream.write(piece)


def images(shape: tuple[int, ...]) -> bytes:
    return bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)


STREAMS = {
    "images-idx3-ubyte.gz": (images((4, 4, 5)), b"\0", "damaged: expected 96 bytes, found"),
    "all-images-idx3-ubyte.gz": (images((256, 1024, 1024)), b"\0", "unpacks to"),
    "a.csv.gz": (b"a,b,y\n", b"1,1,1\n", "unpacks to"),
    "word.csv.gz": (b'a,b,y\n1,1,"', b"x", "unpacks to"),
    "header.csv.gz": (b"a" * MEGABYTE, b"x", "not a header of column names"),
    "comment.svm.gz": (b"1 1:1\n#", b"x", "unpacks to"),
}


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@pytest.mark.parametrize("name", STREAMS)
def test_streams_are_left_at_the_limit(tmp_path: Path, name: str) -> None:
    head, piece, said = STREAMS[name]
    packed(tmp_path / name, head, piece)
    before = peak()
    with pytest.raises(DataError, match=said):
        load(tmp_path / name, target_required=False)
    assert peak() - before < 300e6  # a cell of two bytes becomes a number of eight


def zipped(path: Path, shape: tuple[int, ...], n_bytes: int) -> None:
    labels = io.BytesIO()
    np.save(labels, np.zeros(3))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("X", "proba"):
            with archive.open(f"{name}.npy", "w") as stream:
                header = {"descr": "<f8", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(stream, header)
                for _ in range(0, n_bytes, MEGABYTE):
                    stream.write(bytes(min(MEGABYTE, n_bytes)))
        archive.writestr("y.npy", labels.getvalue())


@pytest.mark.parametrize("read", [load, read_predictions])
def test_members_of_archives(tmp_path: Path, read: Callable[[Path], object]) -> None:
    rows = BOMB // 64
    for shape, n_bytes, said in (
        ((rows, 8), BOMB, r"unpacks to 134\.2 MB from 1\d\d(\.\d)? kB, more than 200 times .* unpack it first"),
        ((3, 8), BOMB, r"cannot be read \(\d+ bytes instead of 320"),
        ((rows, 8), 192, r"cannot be read \(320 bytes instead of 134217856"),
        ((1 << 40, 1 << 40), 192, r"cannot be read"),
    ):
        zipped(tmp_path / "a.npz", shape, n_bytes)
        before = peak()
        with pytest.raises(DataError, match=said):
            read(tmp_path / "a.npz")
        assert peak() - before < BOMB / 2


def test_a_header_that_unpacks_to_much(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("X.npy", "w") as stream:
        stream.write(b"\x93NUMPY\x02\x00" + BOMB.to_bytes(4, "little"))
        for _ in range(BOMB // MEGABYTE):
            stream.write(bytes(MEGABYTE))
    before = peak()
    with open_archive(path) as opened, pytest.raises(DataError, match=f"a header of {BOMB} bytes"):
        opened.read("X")
    assert peak() - before < BOMB // 4


def test_other_packings_and_members_that_are_missing(tmp_path: Path) -> None:
    content = io.BytesIO()
    np.save(content, np.eye(3))
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("X.npy", content.getvalue())
    with pytest.raises(DataError, match=r"array 'X' is packed in another way; |save it with numpy\.savez"):
        load(tmp_path / "a.npz", target_required=False)


def test_tables_whose_columns_shrink_to_nothing(tmp_path: Path) -> None:
    zeros = pa.chunked_array([pa.array(np.zeros(MEGABYTE))] * 8)
    pq.write_table(pa.table({"a": zeros, "b": zeros}), tmp_path / "zeros.parquet", compression="zstd")
    word = pa.DictionaryArray.from_arrays(np.zeros(10_000, dtype=np.int32), pa.array(["x" * 60_000]))
    plain = word.cast(pa.string())
    pq.write_table(pa.table({"word": word}), tmp_path / "dictionary.parquet")
    pq.write_table(pa.table({"word": plain}), tmp_path / "plain.parquet")
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink, pa.ipc.new_file(sink, pa.schema({"w": word.type})) as out:
        out.write_table(pa.table({"w": word}))
    for packing in ("zstd", "lz4"):
        feather.write_feather(pa.table({"a": zeros}), tmp_path / f"{packing}.feather", compression=packing)
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(str(tmp_path / "stream.arrow"), pa.schema({"a": pa.float64()}), options=options) as out:
        out.write_table(pa.table({"a": zeros}))
    del zeros, plain
    for name in (
        "zeros.parquet",
        "dictionary.parquet",
        "plain.parquet",
        "a.arrow",
        "zstd.feather",
        "lz4.feather",
        "stream.arrow",
    ):
        with pytest.raises(DataError, match=rf"{name} unpacks to \d.* from \d.* [kM]B"):
            load(tmp_path / name, target_required=False)


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_pictures(tmp_path: Path, suffix: str) -> None:
    Image.new("RGB", (4000, 3000)).save(
        tmp_path / f"a.{suffix}", **({"compression": "tiff_deflate"} if suffix == "tif" else {})
    )
    if suffix == "bmp":  # which is not packed
        assert load(tmp_path / "a.bmp", size=4, target_required=False).n_features == 48
        return
    with pytest.raises(DataError, match=rf"a\.{suffix}: .*4000×3000 pixels in .* more than"):
        load(tmp_path / f"a.{suffix}", size=4, target_required=False)


def test_postscript_is_no_picture(tmp_path: Path) -> None:
    """Pillow would start another program to draw it."""
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with pytest.raises(DataError, match="not a readable image"):
        load(tmp_path / "a.png", target_required=False)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_among_images_is_not_waited_for(tmp_path: Path) -> None:
    from crosshead.data.images.decoding import BrokenImageError, read_header

    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(BrokenImageError, match="pipe or device"):
        read_header(tmp_path / "a.png")


def test_what_honest_files_may(tmp_path: Path) -> None:
    assert allowance(0) == FREE_BYTES
    assert FREE_BYTES < allowance(MEGABYTE) <= RATIO * MEGABYTE
    for size, words in ((80, "80 bytes"), (999_999, "1000 kB"), (1 << 80, "1.209e+12 TB")):
        assert size_text(size) == words
    check_width("a", 1 << 24, 100)
    with pytest.raises(DataError, match="number the features that occur"):
        check_width("a", 1 << 40, 100)
    (tmp_path / "a.svm").write_text("1 999999999:1\n0 1:1\n")
    with pytest.raises(DataError, match=r"a\.svm: 999999999 features"):
        load(tmp_path / "a.svm")
    whole = "a,y\n" + "\n".join(f"{row * 7919 % 9973},{row % 2}" for row in range(100_000))
    with gzip.open(tmp_path / "a.csv.gz", "wt") as stream:
        stream.write(whole)
    assert load(tmp_path / "a.csv.gz").n_rows == 100_000
