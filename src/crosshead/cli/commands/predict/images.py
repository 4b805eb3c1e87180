"""Predictions for images, which are decoded, embedded and scored batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from crosshead.backbones import Backbone
from crosshead.backbones.embedding import embed_batch
from crosshead.cli.commands.predict.output import Request, block_of, columns_for, open_writer, shown_progress
from crosshead.cli.embedding import backbone_of, batch_size_of
from crosshead.cli.errors import DONE, UsageError, tell
from crosshead.cli.measures import Computing, scores_of
from crosshead.cli.output import show_json
from crosshead.cli.progress import Monitor
from crosshead.cli.writers import Block, JsonWriter
from crosshead.data import DataError, ImageBatch, ImageForm, ImageSource, open_images
from crosshead.data.dataset import Array
from crosshead.data.detect import recognise
from crosshead.data.formats.feature_files import KIND
from crosshead.data.images.image_folder import readable
from crosshead.data.images.open_images import holds_images, table_of_images
from crosshead.data.images.pixels import learned_form
from crosshead.data.images.source import Broken, skipped_note
from crosshead.models import Model


def are_images(model: Model, sources: Sequence[str]) -> bool:
    """Whether the model takes images, and all sources hold such.

    A model of pixels takes arrays and IDX files as features already, which may hold other numbers than 0…255.
    """
    if model.encoding.get("kind") == KIND:
        return all(map(holds_images, sources))
    if "shape" not in model.encoding:
        return False
    for source in sources:
        kind, path = recognise(source)
        if not (kind == "images" or (kind == "parquet" and table_of_images(path))):
            return False
    return True


def run(request: Request, model: Model, output: Path | None) -> int:
    """Predict and write; returns the exit code."""
    if request.ignore:
        raise UsageError("--ignore names columns of a table of features, and these are images")
    scorer = ImageScorer(model, request)
    sources = [_opened(source, request) for source in request.sources]
    total = sum(map(len, sources))
    columns = columns_for(request, model, _row_title(sources), None if request.images.skip_broken else total)
    done, skipped = 0, list[Broken]()
    with shown_progress(output) as monitor, open_writer(request, output, columns) as writer:
        for name, source in zip(request.sources, sources, strict=True):
            prefix = _prefix(name) if len(sources) > 1 else ""
            for block, broken in _blocks(source, prefix, scorer, request):
                skipped += broken
                if len(block.names):
                    writer.write(block)
                done += len(block.names)
                monitor.detail(f"predicted {done} of {total} images")
        if not done:
            raise DataError(f"{request.source}: none of the {total} images can be read: {skipped[0]}")
        if isinstance(writer, JsonWriter):
            writer.tail = _tail(done, skipped, request)
    _report(request, done, skipped)
    return DONE


class ImageScorer:
    """From decoded images to scores: pixels or a backbone's features, then the model."""

    def __init__(self, model: Model, request: Request) -> None:
        self.model, self._computing = model, Computing(request.engine, request.threads)
        self._backbone: Backbone | None = None
        if model.encoding.get("kind") == KIND:
            with Monitor() as monitor:
                monitor.stage("reading the backbone")
                chosen = request.images.backbone
                self._backbone = backbone_of(model.encoding, chosen, model.network, threads=request.threads)
        elif request.images.backbone is not None:
            raise UsageError("--backbone: the model was trained on pixels, without a backbone")

    @property
    def form(self) -> ImageForm:
        """What images are decoded to."""
        return learned_form(self.model.encoding) if self._backbone is None else self._backbone.preprocessing.form

    def scores(self, batch: ImageBatch, source: ImageSource) -> Array:
        """Scores (n, C) of a batch."""
        if not batch.rows.size:
            return np.empty((0, len(self.model.classes)))
        if self._backbone is None:
            features: Array = batch.pixels.reshape(batch.rows.size, -1).astype(np.float32)
        else:
            features = embed_batch(batch, source, self._backbone)
        return np.concatenate([scores for _, scores in scores_of(self.model, features, self._computing)])


def _opened(name: str, request: Request) -> ImageSource:
    opened = open_images(name, classes=False)
    for note in opened.notes:
        tell("note", note)
    if request.test_rows:
        if opened.test is None:
            raise UsageError(f"{name}: --test-rows, but the source brings no test rows of its own")
        return opened.test
    if opened.test is not None:
        tell("note", f"{name} brings {len(opened.test)} test rows of its own; --test-rows takes those")
    return opened


def _blocks(
    source: ImageSource, prefix: str, scorer: ImageScorer, request: Request
) -> Iterator[tuple[Block, tuple[Broken, ...]]]:
    images = request.images
    size = batch_size_of(scorer.model.encoding, images.batch_size)
    batches = source.batches(scorer.form, batch_size=size, workers=images.workers, skip_broken=images.skip_broken)
    for batch in batches:
        if source.names is None and not prefix:
            names: Array = source.rows[batch.rows] + 1
        else:
            names = np.array([f"{prefix}{source.name(int(row))}" for row in batch.rows], dtype=np.str_)
        yield block_of(scorer.model, names, scorer.scores(batch, source), request), batch.broken


def _row_title(sources: Sequence[ImageSource]) -> str:
    return "row" if len(sources) == 1 and sources[0].names is None else "file"


def _prefix(source: str) -> str:
    """What comes before an image's name where there are several sources, so that no two are called the same."""
    path = Path(source)
    is_file_of_one = path.is_file() and recognise(source)[0] == "images"
    place = path.parent if is_file_of_one else path
    return "" if place == Path() else f"{readable(place.as_posix())}/"


def _tail(done: int, skipped: Sequence[Broken], request: Request) -> dict[str, object]:
    if not request.images.skip_broken:
        return {}
    return {"rows": done, "skipped": [{"file": one.place, "reason": one.reason} for one in skipped]}


def _report(request: Request, done: int, skipped: Sequence[Broken]) -> None:
    if skipped:
        tell("note", skipped_note(skipped, request.source))
    if request.output is None:
        return
    if request.as_json:
        head = {"model": request.model, "source": request.source}
        show_json({**head, "rows": done, "output": request.output, **_tail(done, skipped, request)})
    else:
        tell("note", f"{done} predictions written to {request.output}")
