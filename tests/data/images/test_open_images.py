from __future__ import annotations

import io
import json
import os
import signal
import struct

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from crosshead.data import DataError, ImageForm, load, open_images
from crosshead.data.images import decoding_pool
from crosshead.data.images.open_images import holds_images

PIXELS = np.random.default_rng(7).integers(0, 256, (23, 4, 5, 3), dtype=np.uint8)
FORM = ImageForm((4, 5), 3)


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def decoded(source, **options):
    batches = list(source.batches(FORM, **options))
    return np.concatenate([batch.pixels for batch in batches]), batches


def write_table(path, *, classes=None, **columns):
    table = pyarrow.table(columns)
    if classes is not None:
        features = {"info": {"features": {"label": {"names": classes, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    pyarrow.parquet.write_table(table, path, row_group_size=4)


def test_a_table_as_hugging_face_writes_it(tmp_path):
    images = [{"bytes": png(one), "path": f"{number}.png"} for number, one in enumerate(PIXELS)]
    write_table(tmp_path / "t.parquet", classes=["cat", "dog"], image=images, label=[row % 2 for row in range(23)])
    source = open_images(tmp_path / "t.parquet")
    assert source.labels.tolist() == ["cat" if row % 2 == 0 else "dog" for row in range(23)]
    assert source.name(3) == "3.png"
    np.testing.assert_array_equal(decoded(source, batch_size=7)[0], PIXELS)
    order = np.random.default_rng(0).permutation(23)
    np.testing.assert_array_equal(decoded(source.take(order))[0], PIXELS[order])
    features = load(tmp_path / "t.parquet")
    np.testing.assert_array_equal(features.features, PIXELS.reshape(23, -1))
    assert features.row_names[3] == "3.png"


def test_a_table_of_bytes_and_of_paths(tmp_path):
    write_table(tmp_path / "b.parquet", image=[png(one) for one in PIXELS[:5]], class_=["x"] * 5)
    source = open_images(tmp_path / "b.parquet")
    assert (source.labels, source.names, source.name(4)) == (None, None, "5")
    (tmp_path / "a.png").write_bytes(png(PIXELS[0]))
    rows = [{"bytes": None, "path": "a.png"}, {"bytes": None, "path": None}]
    write_table(
        tmp_path / "p.parquet", image=pyarrow.array(rows, pyarrow.struct({"bytes": "binary", "path": "string"}))
    )
    source = open_images(tmp_path / "p.parquet")
    np.testing.assert_array_equal(decoded(source.take(np.array([0])))[0], PIXELS[:1])
    with pytest.raises(DataError, match=r"p\.parquet: row 2: the image file is empty; remove or replace it"):
        decoded(source)


@pytest.mark.parametrize("outside", ["../a.png", "/tmp/a.png"])
def test_a_table_names_files_in_its_own_folder_only(tmp_path, outside):
    rows = [{"bytes": None, "path": outside}]
    write_table(
        tmp_path / "p.parquet", image=pyarrow.array(rows, pyarrow.struct({"bytes": "binary", "path": "string"}))
    )
    with pytest.raises(DataError, match=r"row 1: .* lies outside the table's folder"):
        load(tmp_path / "p.parquet", target_required=False)


def test_labels_of_no_class(tmp_path):
    write_table(tmp_path / "t.parquet", classes=["cat"], image=[png(PIXELS[0])] * 2, label=[0, 1])
    with pytest.raises(DataError, match="label 1 at row 2, but 1 classes are named"):
        open_images(tmp_path / "t.parquet")


def test_lists_of_files(tmp_path):
    for number in range(4):
        path = tmp_path / "f" / ("deep" if number % 2 else ".") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(PIXELS[number]))
    listing = tmp_path / "f" / "metadata.csv"
    listing.write_text("file_name,label,kind\n2.png,wren,b\ndeep/1.png,owl,b\n0.png,wren,c\n")
    source = open_images(tmp_path / "f", labels_required=True)
    assert source.names == ["2.png", "deep/1.png", "0.png"]
    assert source.labels.tolist() == ["wren", "owl", "wren"]
    assert "1 file(s) that are not images of a class" in source.notes[0]
    np.testing.assert_array_equal(decoded(source)[0], PIXELS[[2, 1, 0]])
    assert open_images(tmp_path / "f", target="kind").classes.tolist() == ["b", "c"]
    assert load(tmp_path / "f", target="kind").target.tolist() == ["b", "b", "c"]
    listing.unlink()
    rows = [{"file_name": "2.png", "label": 3}, {"file_name": "0.png", "label": 1}]
    (tmp_path / "f" / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    assert open_images(tmp_path / "f").labels.tolist() == [3, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file_name,label\nnone.png,a\n", r"'none\.png' at row 1 below the header does not exist"),
        ("name,label\n0.png,a\n", "no column 'file_name', which names the images; found 'name', 'label'"),
        ("file_name;label\n0.png;a\n", "no column 'file_name', which names the images; found 'file_name;label'"),
        ("file_name,label,label\n0.png,a,b\n", "two columns are called 'label'"),
        ("file_name,label\n0.png,a,b\n", "3 cells at row 1 below the header, but the header has 2"),
        ("file_name,label\n0.png,a\n0.png,b\n", r"'0\.png' at row 2 below the header was listed at row 1 below"),
        ('file_name,label\n0.png,"a\n', "not a table of text in UTF-8 with commas"),
        ("file_name,label\n../0.png,a\n", "lies outside the folder"),
        ("file_name,label\n0.png,\n", "no label at row 1 below the header"),
        ("file_name,label\n", "lists no images"),
    ],
)
def test_lists_that_cannot_be(tmp_path, text, message):
    (tmp_path / "0.png").write_bytes(png(PIXELS[0]))
    (tmp_path / "metadata.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        open_images(tmp_path)


def test_a_list_without_labels_says_where_they_may_be(tmp_path):
    (tmp_path / "0.png").write_bytes(png(PIXELS[0]))
    (tmp_path / "metadata.csv").write_text("file_name,kind\n0.png,a\n")
    assert open_images(tmp_path).labels is None
    with pytest.raises(DataError, match="none of the columns label, class, target; name its column with --target"):
        open_images(tmp_path, labels_required=True)
    (tmp_path / "metadata.csv").write_text("file_name, label\r\n0.png,01\r\n")
    assert open_images(tmp_path, labels_required=True).labels.tolist() == ["01"]


def test_a_training_folder_alone_and_parts_beside_it(photos, tmp_path):
    (tmp_path / "set").mkdir()
    photos.rename(tmp_path / "set" / "train")
    assert open_images(tmp_path / "set").classes.tolist() == ["dark", "light"]
    for name in ("val", "valid"):
        (tmp_path / "set" / name / "dark").mkdir(parents=True)
        (tmp_path / "set" / name / "dark" / "x.png").write_bytes(png(PIXELS[0]))
    source = open_images(tmp_path / "set")
    assert (len(source), len(source.test)) == (30, 1)
    assert source.notes == (f"{tmp_path / 'set'}: the test images are those of val; not read: valid",)


def test_where_classes_do_not_matter_every_image_is_taken(photos):
    (photos / "loose.png").write_bytes(png(PIXELS[0]))
    (photos / "empty").mkdir()
    with pytest.raises(DataError, match="empty: the class folder holds no images"):
        open_images(photos)
    source = open_images(photos, classes=False)
    assert len(source) == 31
    assert source.labels is None
    assert source.names[-1] == "loose.png"


def test_links_lead_to_images_or_are_told(photos, tmp_path):
    """What a link should have led to must not go missing without a word, nor go round in circles."""
    (tmp_path / "more").mkdir()
    (photos / "light" / "14.png").rename(tmp_path / "more" / "14.png")
    (photos / "light" / "more").symlink_to(tmp_path / "more")
    source = open_images(photos)
    assert source.names[-1] == "light/more/14.png"
    assert len(source) == 30
    (photos / "light" / "15.png").symlink_to("nowhere.png")
    source = open_images(photos)
    with pytest.raises(DataError, match=r"light/15\.png: not a readable image \(No such file"):
        list(source.batches(ImageForm((4, 4), 3)))
    (photos / "light" / "round").symlink_to(photos / "light")
    with pytest.raises(DataError, match=r"light/round: a link to one of its own parent folders"):
        open_images(photos)


def test_a_folder_that_may_not_be_read_is_told(photos, monkeypatch):
    (photos / "light" / "secret").mkdir()
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("secret"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError, match="secret"):
        open_images(photos)


def test_names_that_are_no_text_are_escaped(photos):
    os.rename(photos / "dark" / "00.png", os.fsencode(photos / "dark") + b"/caf\xe9.png")
    source = open_images(photos)
    assert r"dark/caf\xe9.png" in source.names
    assert len(next(source.batches(ImageForm((4, 4), 3))).rows) == 30


def test_arrays_and_their_test_images(tmp_path):
    np.savez(tmp_path / "a.npz", X=PIXELS[:20], y=np.arange(20) % 3, Xt=PIXELS[20:], yt=np.arange(3))
    source = open_images(tmp_path / "a.npz")
    np.testing.assert_array_equal(decoded(source, batch_size=6)[0], PIXELS[:20])
    np.testing.assert_array_equal(decoded(source.test)[0], PIXELS[20:])
    assert source.classes.tolist() == [0, 1, 2]
    np.savez(tmp_path / "f.npz", X=PIXELS / 255.0, y=np.arange(23) % 3)
    assert not holds_images(str(tmp_path / "f.npz"))
    with pytest.raises(DataError, match="images are uint8 of shape"):
        open_images(tmp_path / "f.npz")


def test_a_damaged_archive_is_left_to_its_reader(tmp_path):
    np.savez(tmp_path / "a.npz", X=PIXELS)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    start = content.index(b"\x93NUMPY")
    content[start : start + 60] = bytes(60)
    (tmp_path / "a.npz").write_bytes(content)
    assert not holds_images(str(tmp_path / "a.npz"))
    with pytest.raises(DataError, match=r"a\.npz: array 'X'"):
        open_images(tmp_path / "a.npz")


def test_idx_and_its_test_images(tmp_path):
    for name, rows in (("train", slice(0, 9)), ("t10k", slice(9, 12))):
        pixels = PIXELS[rows, :, :, 0]
        header = struct.pack(">HBB3I", 0, 8, 3, *pixels.shape)
        (tmp_path / f"{name}-images-idx3-ubyte").write_bytes(header + pixels.tobytes())
        labels = np.arange(len(pixels), dtype=np.uint8) % 2
        (tmp_path / f"{name}-labels-idx1-ubyte").write_bytes(
            struct.pack(">HBBI", 0, 8, 1, len(labels)) + labels.tobytes()
        )
    source = open_images(tmp_path / "train-images-idx3-ubyte")
    batch = next(source.batches(ImageForm((4, 5), 1), batch_size=9))
    np.testing.assert_array_equal(batch.pixels[..., 0], PIXELS[:9, :, :, 0])
    assert source.test is not None
    assert source.test.labels.tolist() == [0, 1, 0]


def test_batches_depend_on_nothing_but_their_size(photos):
    source = open_images(photos)
    form = ImageForm((6, 5), 3)
    whole = np.concatenate([batch.pixels for batch in source.batches(form, batch_size=30)])
    for size, start, workers in ((1, 0, 0), (7, 14, 0), (4, 0, 2), (64, 0, 0)):
        batches = list(source.batches(form, batch_size=size, start=start, workers=workers))
        np.testing.assert_array_equal(np.concatenate([batch.pixels for batch in batches]), whole[start:])
        assert [batch.stop for batch in batches] == [*range(start + size, 30, size), 30]


def test_a_batch_of_large_images_has_fewer(photos, monkeypatch):
    """Whatever number a model asks for: 6 × 5 × 3 bytes an image, so that 7 fit in 700."""
    monkeypatch.setattr(decoding_pool, "BATCH_BYTES", 700)
    stops = [batch.stop for batch in open_images(photos).batches(ImageForm((6, 5), 3), batch_size=1 << 16)]
    assert stops == [7, 14, 21, 28, 30]


@pytest.mark.parametrize("workers", [0, 1])
def test_broken_images_are_listed_and_skipped_on_request(odd_images, workers):
    source = open_images(odd_images)
    form = ImageForm((4, 4), 3)
    with pytest.raises(DataError) as refused:
        list(source.batches(form, workers=workers))
    message = str(refused.value)
    assert "2 images cannot be read" in message
    assert f"{odd_images}/bad/cut.jpg: not a readable image" in message
    assert f"{odd_images}/bad/text.png: not a readable image" in message
    assert "--skip-broken" in message
    batches = list(source.batches(form, batch_size=2, workers=workers, skip_broken=True))
    assert [source.name(row) for batch in batches for row in batch.rows] == [
        "bad/whole.png",
        "good/cmyk.jpg",
        "good/colour.png",
        "good/one_pixel.png",
        "good/sixteen_bits.png",
    ]
    assert [len(batch.rows) for batch in batches] == [0, 2, 2, 1]
    assert [one.row for batch in batches for one in batch.broken] == [0, 1]


def test_the_documented_result_of_each_odd_image(odd_images):
    data = load(odd_images, size=(4, 4), skip_broken=True)
    pixels = dict(zip(data.row_names, data.features.reshape(-1, 4, 4, 3), strict=True))
    assert set(data.target) == {"bad", "good"}
    np.testing.assert_array_equal(pixels["good/one_pixel.png"], np.broadcast_to([200, 100, 50], (4, 4, 3)))
    np.testing.assert_allclose(pixels["good/cmyk.jpg"], np.broadcast_to([255, 0, 0], (4, 4, 3)), atol=3)
    deep = pixels["good/sixteen_bits.png"]
    assert 200 <= deep.min() < deep.max() <= 234  # eight bits of 16, not white throughout
    assert any("2 images could not be read and were left out" in note for note in data.notes)
    assert any("1 file(s) that are not images of a class were passed over" in note for note in data.notes)
    (odd_images / "empty").mkdir()
    with pytest.raises(DataError, match="empty: the class folder holds no images"):
        load(odd_images, size=4, skip_broken=True)


def test_nothing_that_can_be_read(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.png").write_bytes(b"")
    with pytest.raises(DataError, match="none of the 1 images can be read"):
        load(tmp_path, size=4, encoding={"shape": [4, 4]}, skip_broken=True)


def test_a_killed_process_ends_the_pass_and_not_the_next(photos):
    source = open_images(photos)
    batches = source.batches(FORM, batch_size=2, workers=1)
    next(batches)
    for process in decoding_pool._pool(1)._processes:
        os.kill(process, signal.SIGKILL)
    with pytest.raises(ChildProcessError, match=r"a process that decoded images was killed; .* try --workers 0"):
        list(batches)
    assert len(list(source.batches(FORM, batch_size=2, workers=1))) == 15


def test_large_photos_are_decoded_by_processes(tmp_path, monkeypatch):
    """Headers alone determine the number of processes; small images are decoded here, however many there are."""
    asked = []
    monkeypatch.setattr(
        "crosshead.data.images.source.decode_all", lambda tasks, workers: asked.append(workers) or iter([])
    )
    monkeypatch.setattr("crosshead.data.images.decoding_pool._cpus", lambda: 3)
    for side, expected in ((1000, 3), (20, 0)):
        Image.new("L", (side, side)).save(tmp_path / "x.png")
        source = open_images(tmp_path / "x.png").take(np.zeros(500, dtype=np.int64))
        with pytest.raises(RuntimeError):  # nothing comes of the pool that was put in its place
            next(source.batches(FORM))
        assert asked.pop() == expected


def test_fingerprints_follow_content_names_and_labels(photos):
    first = open_images(photos).fingerprint()
    assert open_images(photos).fingerprint() == first
    (photos / "dark" / "00.png").rename(photos / "dark" / "99.png")
    moved = open_images(photos).fingerprint()
    (photos / "dark" / "99.png").write_bytes((photos / "dark" / "01.png").read_bytes())
    assert len({first, moved, open_images(photos).fingerprint()}) == 3


def test_what_holds_images(photos, tmp_path):
    assert holds_images(str(photos))
    assert holds_images(str(photos / "dark" / "00.png"))
    assert holds_images("digits")
    assert not holds_images("iris")
    (tmp_path / "t.csv").write_text("a,label\n1,x\n")
    assert not holds_images(str(tmp_path / "t.csv"))
    with pytest.raises(DataError, match="holds no images"):
        open_images(tmp_path / "t.csv")
    with pytest.raises(DataError, match="images without classes"):
        open_images(photos / "dark", labels_required=True)
