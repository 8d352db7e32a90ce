"""Adds the navigation to the pages that need one, which are READMEs and hold none themselves.

The start page gets ``contents.md``. The README of a folder gets every page beside it and the README of every folder
below it, so that a new page is found without another line.
"""

from pathlib import Path, PurePosixPath
from typing import Any

CONTENTS = Path(__file__).with_name("contents.md")


def pages_below(docname: str, docnames: set[str]) -> list[str]:
    """Returns the pages that the README of a folder leads to.

    Args:
        docname: the README, without its suffix.
        docnames: all pages, without suffix.
    """
    folder = PurePosixPath(docname).parent
    beside = [name for name in docnames if PurePosixPath(name).parent == folder and name != docname]
    below = [name for name in docnames if PurePosixPath(name).parent.parent == folder and name.endswith("/README")]
    return sorted(beside) + sorted(below)


def add_contents(app: Any, docname: str, source: list[str]) -> None:
    """Appends the navigation to the text of a page; ``source`` holds the text as its one item."""
    if docname == app.config.root_doc:
        source[0] += "\n\n" + CONTENTS.read_text(encoding="utf-8")
    elif docname.endswith("/README"):
        pages = "\n".join(f"/{name}" for name in pages_below(docname, app.env.found_docs))
        source[0] += f"\n\n```{{toctree}}\n:hidden:\n\n{pages}\n```\n"


def setup(app: Any) -> dict[str, bool]:
    """Registers the extension with Sphinx."""
    app.connect("source-read", add_contents)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
