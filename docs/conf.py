"""The site that ``make docs`` builds with Sphinx, into ``build/site``.

The source folder is the repository, so that README.md, CONTRIBUTING.md and everything under ``docs/`` keep the paths
that their links use. ``docs/site`` has the navigation (``contents.md``) and two small extensions.
"""

import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "src"), str(HERE / "site")]

project = "epymarl-lmac"
project_copyright = "The epymarl-lmac developers"
version = release = re.findall(
    r'^__version__ = "(.+)"$', (REPOSITORY / "epymarl_lmac" / "__init__.py").read_text(encoding="utf-8"), re.MULTILINE
)[0]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "contents",
    "docstrings",
    "linked_files",
]

root_doc = "README"
include_patterns = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/**.md", "benchmarks/*.md"]
exclude_patterns = [
    ".venv*",
    "build",
    "results",
    "docs/site",
    "docs/protocols/**/answers",  # a model's words, kept as they came; pages link to them as files
]

myst_heading_anchors = 4
suppress_warnings = ["myst.header"]  # pages may start below the first level, as a README's sections do

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 90
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = [("Class attributes that a method sets", "params_style")]

html_theme = "furo"
html_title = f"epymarl-lmac {release}"
html_additional_pages = {"index": "index.html"}
html_copy_source = False
html_show_sphinx = False
templates_path = ["site"]
