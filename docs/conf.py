"""How Sphinx builds the site: `make docs`."""

from __future__ import annotations

import os
import sys
import warnings
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))
os.environ.setdefault("MPLBACKEND", "agg")
warnings.filterwarnings("ignore", message="Unknown section", category=UserWarning)
warnings.filterwarnings("ignore", message="invalid value encountered in matmul", category=RuntimeWarning)

project = "crosshead"
author = "the crosshead developers"
version = release = metadata.version("crosshead")
copyright = "the crosshead developers, Apache 2.0"

extensions = [
    "myst_parser",
    "sphinx_design",
    "numpydoc",
    "reference",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_*", "gallery", "benchmark/*.csv", "benchmark/*.json"]
root_doc = "index"
language = "en"

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 3

default_role = "py:obj"
autosummary_generate = True
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
numpydoc_xref_param_type = False
python_maximum_signature_line_length = 90
templates_path = ["_templates"]
add_module_names = False
toc_object_entries_show_parents = "hide"
smartquotes = False

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "examples",
    "filename_pattern": r"plot_",
    "within_subsection_order": "FileNameSortKey",
    "subsection_order": ["gallery/losses", "gallery/training", "gallery/judging", "gallery/heads"],
    "abort_on_example_error": True,
    "backreferences_dir": "reference/backreferences",
    "doc_module": ("crosshead",),
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
    "min_reported_time": 5,
    "reset_modules": ("matplotlib",),
    "copyfile_regex": r"GALLERY_HEADER\.rst",
}

html_theme = "pydata_sphinx_theme"
html_title = "crosshead"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": "crosshead"},
    "navbar_align": "left",
    "header_links_before_dropdown": 7,
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "navigation_with_keys": False,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_context = {"default_mode": "auto"}
html_sidebars = {"index": []}
