"""What `crosshead embed` does once its options are read."""

from __future__ import annotations

import time

from crosshead.backbones import embed_to_file
from crosshead.backbones.embedding import WRITERS
from crosshead.cli.backbones import GOES_ON, Rate, how_of, open_backbone, show_image_notes
from crosshead.cli.commands.embed import EmbedOptions
from crosshead.cli.destinations import check_output
from crosshead.cli.errors import DONE, FAILED, tell
from crosshead.cli.output import show_json, show_pairs
from crosshead.cli.progress import Monitor
from crosshead.data import open_images
from crosshead.models.summary import backbone_title


def run(options: EmbedOptions) -> int:
    """Embed, write and show; returns the exit code."""
    path = check_output(options.output, tuple(WRITERS))
    with Monitor() as monitor:
        monitor.stage(f"reading {options.source}")
        images = open_images(options.source, target=options.target)
        monitor.stage(f"reading {options.images.backbone}")
        backbone = open_backbone(options.images, options.threads)
        began = time.monotonic()
        try:
            made = embed_to_file(images, backbone, path, how_of(options.images), Rate(monitor, options.source))
        except KeyboardInterrupt:
            tell("error", f"interrupted; {GOES_ON}")
            return FAILED
        seconds = time.monotonic() - began
    show_image_notes(images, made)
    n_images = len(images) + (0 if images.test is None else len(images.test))
    if options.as_json:
        show_json(
            {
                "source": options.source,
                "images": n_images,
                "written": n_images - len(made.broken),
                "skipped": [{"file": one.place, "reason": one.reason} for one in made.broken],
                "resumed_at": made.resumed,
                "features": backbone.n_features,
                "backbone": backbone.description,
                "seconds": seconds,
                "output": options.output,
            }
        )
        return DONE
    rate = (n_images - made.resumed) / seconds if seconds > 0 else 0.0
    resumed = f", {made.resumed} of them by an earlier run" if made.resumed else ""
    show_pairs(
        [
            ("images", f"{n_images - len(made.broken)} of {n_images}{resumed}"),
            ("features", f"{backbone.n_features} by {backbone_title(backbone.description)}"),
            ("pace", f"{rate:.1f} images/s, {seconds:.1f} s"),
            ("written to", options.output),
        ]
    )
    return DONE
