"""Random damage to valid files: they are read or refused in one line, never a traceback of a parser."""

from __future__ import annotations

import gzip
import random
import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import dump_svmlight_file

from crosshead.data import DataError, load

DAMAGED = {
    "a.npz": "a.npz",
    "X.npy": "X.npy",
    "y.npy": "X.npy",
    "a.csv": "a.csv",
    "a.csv.gz": "a.csv.gz",
    "a.parquet": "a.parquet",
    "a.svm": "a.svm",
    "images-idx3-ubyte.gz": "images-idx3-ubyte.gz",
    "labels-idx1-ubyte": "images-idx3-ubyte.gz",
    "pictures/one/x.png": "pictures",
    "pictures/one/x.jpg": "pictures",
}


def write_valid_files(folder: Path) -> None:
    generator = np.random.default_rng(0)
    X, y = generator.normal(size=(20, 4)), generator.integers(0, 3, 20)
    np.savez_compressed(folder / "a.npz", X=X, y=y)
    np.save(folder / "X.npy", X)
    np.save(folder / "y.npy", y)
    frame = pd.DataFrame(X, columns=list("abcd")).assign(word=["u", "v"] * 10, y=y)
    frame.to_csv(folder / "a.csv", index=False)
    frame.to_csv(folder / "a.csv.gz", index=False)
    frame.to_parquet(folder / "a.parquet")
    dump_svmlight_file(X, y, str(folder / "a.svm"))
    pixels = generator.integers(0, 256, (20, 3, 3), dtype=np.uint8)
    idx = bytes([0, 0, 8, 3]) + struct.pack(">3I", 20, 3, 3) + pixels.tobytes()
    (folder / "images-idx3-ubyte.gz").write_bytes(gzip.compress(idx))
    labels = bytes([0, 0, 8, 1]) + struct.pack(">I", 20) + y.astype(np.uint8).tobytes()
    (folder / "labels-idx1-ubyte").write_bytes(labels)
    (folder / "pictures" / "one").mkdir(parents=True)
    for suffix in ("png", "jpg"):
        Image.fromarray(pixels[0]).save(folder / "pictures" / "one" / f"x.{suffix}")


def damage(content: bytes, generator: random.Random) -> bytes:
    changed = bytearray(content)
    if generator.random() < 0.3:
        return bytes(changed[: generator.randrange(len(changed))])
    for _ in range(generator.choice((1, 1, 3))):
        changed[generator.randrange(len(changed))] = generator.randrange(256)
    return bytes(changed)


@pytest.mark.parametrize("name", DAMAGED)
def test_random_damage(tmp_path: Path, name: str) -> None:
    write_valid_files(tmp_path)
    source = tmp_path / DAMAGED[name]
    assert load(source).n_rows in (2, 20)
    path, generator = tmp_path / name, random.Random(name)
    content = path.read_bytes()
    refusals: list[str] = []
    for _ in range(60):
        path.write_bytes(damage(content, generator))
        try:
            load(source)
        except DataError as error:
            refusals.append(str(error))
    assert refusals
    assert not any("\n" in message for message in refusals)
