"""How Sphinx builds the documentation; ``make docs`` runs it with warnings as errors."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "cti-framework"
author = "The cti-framework authors"
copyright = author
release = version = installed_version("cti-framework")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.doctest", "generated"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "_ext", "examples"]
nitpicky = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
# The attributes of a value class stand in its docstring and in its body; as fields of the class they are told once.
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"cti-framework {release}"
html_show_copyright = False
