"""Folders of Parquet files with images, in the layouts of Hugging Face."""

from __future__ import annotations

import io
import json

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from crosshead.data import DataError, ImageForm, load, open_images
from crosshead.data.images import storage
from crosshead.data.images.storage import TableStorage

PIXELS = np.random.default_rng(8).integers(0, 256, (17, 5, 3, 3), dtype=np.uint8)
FORM = ImageForm((5, 3), 3)
STRUCT = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def write(path, rows, *, classes=("cat", "dog"), label=lambda row: row % 2, group=2, images=None):
    """A shard with the images of some rows, two to a row group, as `datasets` writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [{"bytes": png(PIXELS[row]), "path": f"{row}.png"} for row in rows] if images is None else images
    table = pyarrow.table({"image": pyarrow.array(cells, STRUCT), "label": [label(row) for row in rows]})
    if not rows:
        table = pyarrow.table({"image": table["image"], "label": pyarrow.array([], pyarrow.int64())})
    if classes:
        features = {"info": {"features": {"label": {"names": list(classes), "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    pyarrow.parquet.write_table(table, path, row_group_size=group)


def decoded(source, **options):
    return np.concatenate([batch.pixels for batch in source.batches(FORM, **options)])


@pytest.mark.parametrize("place", ["", "data", "plain_text"])
def test_shards_of_training_and_test_images(tmp_path, place):
    folder = tmp_path / place
    write(folder / "train-00000-of-00002.parquet", range(7))
    write(folder / "train-00001-of-00002.parquet", range(7, 12))
    write(folder / "test-00000-of-00001.parquet", range(12, 15))
    (tmp_path / "README.md").write_text("---\n")
    source = open_images(tmp_path, labels_required=True)
    assert source.labels.tolist() == [("cat", "dog")[row % 2] for row in range(12)]
    assert source.names == [f"{row}.png" for row in range(12)]
    assert source.place(8) == f"{folder / 'train-00001-of-00002.parquet'}: row 2"
    for size, workers in ((5, 0), (64, 0), (3, 1)):
        np.testing.assert_array_equal(decoded(source, batch_size=size, workers=workers), PIXELS[:12])
    np.testing.assert_array_equal(decoded(source, batch_size=4, start=8), PIXELS[8:12])
    order = np.random.default_rng(1).permutation(12)
    np.testing.assert_array_equal(decoded(source.take(order)), PIXELS[order])
    np.testing.assert_array_equal(decoded(source.test), PIXELS[12:15])
    assert source.test.labels.tolist() == ["cat", "dog", "cat"]
    data = load(tmp_path)
    np.testing.assert_array_equal(data.features, PIXELS[:12].reshape(12, -1))
    assert data.test.row_names == ["12.png", "13.png", "14.png"]


@pytest.mark.parametrize("part", ["test", "val", "valid", "validation"])
def test_folders_of_shards(tmp_path, part):
    write(tmp_path / "data" / "train" / "a.parquet", [0, 1])
    write(tmp_path / "data" / "train" / "b.parquet", [2])
    write(tmp_path / "data" / part / "a.parquet", [3])
    source = open_images(tmp_path)
    np.testing.assert_array_equal(decoded(source), PIXELS[:3])
    np.testing.assert_array_equal(decoded(source.test), PIXELS[3:4])


def test_a_folder_of_any_tables(tmp_path):
    """In the order of their names; paths that occur twice are not used as names."""
    for name, rows in (("10.parquet", [1, 2]), ("00.parquet", [0]), ("20-latest.parquet", [])):
        images = [{"bytes": png(PIXELS[row]), "path": "x.png" if row < 2 else "y.png"} for row in rows]
        write(tmp_path / name, rows, classes=None, label=lambda row: "owl" if row else "wren", images=images)
    (tmp_path / "20-latest.parquet").unlink()
    source = open_images(tmp_path)
    assert (source.names, source.test, source.labels.tolist()) == (None, None, ["wren", "owl", "owl"])
    assert source.name(2) == "3"
    np.testing.assert_array_equal(decoded(source), PIXELS[:3])


def test_the_part_for_tests_and_what_is_passed_over(tmp_path):
    for name, row in (("train", 0), ("validation", 1), ("test", 2)):
        write(tmp_path / f"{name}-00000-of-00001.parquet", [row])
    source = open_images(tmp_path)
    np.testing.assert_array_equal(decoded(source.test), PIXELS[2:3])
    assert source.notes == (
        f"{tmp_path}: neither training nor test images, passed over: validation-00000-of-00001.parquet",
    )


def test_a_shard_without_rows_adds_none(tmp_path):
    write(tmp_path / "train-00000-of-00002.parquet", [])
    write(tmp_path / "train-00001-of-00002.parquet", [4, 5])
    np.testing.assert_array_equal(decoded(open_images(tmp_path)), PIXELS[4:6])
    write(tmp_path / "train-00001-of-00002.parquet", [])
    with pytest.raises(DataError, match="has columns but no rows"):
        open_images(tmp_path)


def test_one_row_group_is_held(tmp_path, monkeypatch):
    """However many shards there are: the storage of all others are let go."""
    for number in range(4):
        write(tmp_path / f"{number}.parquet", [3 * number, 3 * number + 1, 3 * number + 2])
    source = open_images(tmp_path)
    for row in range(12):
        source.storage.get([row])
        held = [sum(len(cells) for _, cells in part._pieces) for part in source.storage._parts]
        assert [count for count in held if count] == [1 if row % 3 == 2 else 2]


def test_an_image_that_a_dictionary_repeats_is_not_held_again_and_again(tmp_path, monkeypatch):
    """200 rows of one image of 10 kB: at most as many at a time as fit in twice a piece."""
    monkeypatch.setattr(storage, "PIECE_BYTES", 1 << 15)
    monkeypatch.setattr(storage, "HELD_BYTES", 1 << 16)
    large = np.random.default_rng(2).bytes(10_000)
    write(tmp_path / "0.parquet", range(200), group=200, images=[{"bytes": large, "path": "a.png"}] * 200)
    assert (tmp_path / "0.parquet").stat().st_size < 20_000
    table = TableStorage(tmp_path / "0.parquet", "image")
    for row in (*range(200), 3, 199, 0):
        assert table.get([row]) == [large]
        assert sum(len(cells) for _, cells in table._pieces) <= 7


def test_two_columns_of_one_name_are_refused(tmp_path):
    table = pyarrow.table([[{"bytes": png(PIXELS[0])}], [1], [2]], names=["image", "label", "label"])
    pyarrow.parquet.write_table(table, tmp_path / "0.parquet")
    with pytest.raises(DataError, match=r"0\.parquet: column 'label' occurs more than once"):
        open_images(tmp_path)


def test_folders_of_images_stay_so(photos):
    """Stray tables change nothing: in a class's folder, and one of features beside the classes."""
    write(photos / "dark" / "index.parquet", [0])
    assert len(open_images(photos)) == 30
    pyarrow.parquet.write_table(pyarrow.table({"f0": [1.0], "label": ["dark"]}), photos / "features.parquet")
    source = open_images(photos)
    assert (len(source), source.names[0]) == (30, "dark/00.png")


def test_what_cannot_be_one_data_set(tmp_path):
    write(tmp_path / "a" / "train-00000-of-00003.parquet", [0])
    write(tmp_path / "a" / "train-00002-of-00003.parquet", [1])
    with pytest.raises(
        DataError, match=r"1 of the 3 files train-…-of-00003\.parquet missing, the first is number 00001"
    ):
        open_images(tmp_path / "a")
    write(tmp_path / "b" / "train.parquet", [0])
    with pytest.raises(DataError, match=r"several folders hold \.parquet files \(a, b\); give one of them"):
        open_images(tmp_path)
    pyarrow.parquet.write_table(pyarrow.table({"image": [png(PIXELS[0])], "y": [1]}), tmp_path / "b" / "test.parquet")
    with pytest.raises(DataError, match=r"test\.parquet: its columns are not those of train\.parquet"):
        open_images(tmp_path / "b")
    write(tmp_path / "c" / "0.parquet", [0])
    write(tmp_path / "c" / "1.parquet", [0], classes=None)
    with pytest.raises(DataError, match=r"1\.parquet: labels have another type than in 0\.parquet"):
        open_images(tmp_path / "c")
    content = (tmp_path / "b" / "train.parquet").read_bytes()
    (tmp_path / "b" / "test.parquet").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"test\.parquet: not a readable Parquet file \(.*\); is it truncated\?$"):
        open_images(tmp_path / "b")


def test_broken_images_are_named_by_file_and_row(tmp_path):
    whole = {"bytes": png(PIXELS[0]), "path": None}
    write(tmp_path / "0.parquet", [0, 1], images=[whole, {"bytes": whole["bytes"][:40], "path": None}])
    write(tmp_path / "1.parquet", [2], images=[{"bytes": b"", "path": None}])
    with pytest.raises(
        DataError, match=r"0\.parquet: row 2: not a readable image.*1\.parquet: row 1: the image file is"
    ):
        decoded(open_images(tmp_path))
    np.testing.assert_array_equal(decoded(open_images(tmp_path), skip_broken=True), PIXELS[:1])


@pytest.mark.parametrize(
    ("column", "part"),
    [("image.bytes", "row group 2"), ("image.path", r"column 'image\.path'"), ("label", "column 'label'")],
)
def test_damage_inside_a_shard_is_told_with_its_place(tmp_path, column, part):
    """The footer of such a file is whole."""
    write(tmp_path / "0.parquet", range(4))
    path = tmp_path / "1.parquet"
    write(path, range(4, 8))
    group = pyarrow.parquet.ParquetFile(path).metadata.row_group(1)
    chunk = next(group.column(k) for k in range(group.num_columns) if group.column(k).path_in_schema == column)
    first = chunk.dictionary_page_offset or chunk.data_page_offset
    content = bytearray(path.read_bytes())
    content[first : first + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"1\.parquet: {part} cannot be read \(.*[^ ]\); is the file damaged\?$"):
        decoded(open_images(tmp_path))


def test_a_link_that_leads_nowhere_is_no_missing_shard(tmp_path):
    """A cache of downloads holds links: where one is broken, its rows must not be left out in silence."""
    write(tmp_path / "0.parquet", [0, 1])
    (tmp_path / "1.parquet").symlink_to(tmp_path / "gone")
    with pytest.raises(DataError, match=r"1\.parquet: the link leads nowhere"):
        open_images(tmp_path)


def test_a_folder_of_tables_of_features(tmp_path):
    pyarrow.parquet.write_table(pyarrow.table({"f0": [1.0], "label": ["dark"]}), tmp_path / "features.parquet")
    with pytest.raises(DataError, match=r"Parquet files without a column of images, and no images; .* give one file"):
        open_images(tmp_path)
