"""Makes links to files of the repository work in the site.

A page may link to what is no page: a generated HTML page, a folder of answers, a folder of code. Such a file is
copied into the site once, to the place that it has in the repository; so the link stays as it is written. A folder
gets a list of its files. A link to nothing is left to Sphinx, which warns and fails the build.
"""

import html
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from docutils import nodes
from sphinx.addnodes import download_reference, pending_xref
from sphinx.transforms import SphinxTransform

SKIPPED = {"__pycache__"}


class LinkedFiles(SphinxTransform):
    """Turns the links of one page that name a file or a folder, not a page, into plain links."""

    default_priority = 1  # before Sphinx collects downloads

    def apply(self, **kwargs: Any) -> None:
        """Rewrites the links and notes what they name in the build environment, for ``copy_linked``."""
        folder = Path(self.env.doc2path(self.env.docname)).parent
        for link in [*self.document.findall(download_reference), *self.document.findall(pending_xref)]:
            target = folder / unquote(link["reftarget"])
            is_link = isinstance(link, download_reference) or link.get("reftype") == "myst"
            if not is_link or not link["reftarget"] or not target.exists():
                continue
            plain = nodes.reference("", "", refuri=link["reftarget"] + ("/index.html" if target.is_dir() else ""))
            plain += [child for child in link.children]
            link.replace_self(plain)
            linked_of(self.env).setdefault(self.env.docname, set()).add(target.resolve())


def linked_of(env: Any) -> dict[str, set[Path]]:
    """Returns what the pages link to, by page."""
    if not hasattr(env, "linked_files"):
        env.linked_files = {}
    return env.linked_files


def merge(app: Any, env: Any, docnames: set[str], other: Any) -> None:
    """Takes over what a parallel reader found."""
    linked_of(env).update({name: found for name, found in linked_of(other).items() if name in docnames})


def forget(app: Any, env: Any, docname: str) -> None:
    """Forgets a page that is read again."""
    linked_of(env).pop(docname, None)


def copy_linked(app: Any, error: Exception | None) -> None:
    """Copies every linked file into the site, and lists the files of every linked folder."""
    if error is not None:
        return
    for source in sorted(set().union(*linked_of(app.env).values())):
        target = Path(app.outdir) / source.relative_to(app.srcdir)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*SKIPPED))
            write_list(source, target / "index.html")
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def write_list(folder: Path, page: Path) -> None:
    """Writes a page with links to all files under a folder."""
    files = [f for f in sorted(folder.rglob("*")) if f.is_file() and not SKIPPED.intersection(f.parts)]
    names = [html.escape(f.relative_to(folder).as_posix()) for f in files]
    items = "".join(f'<li><a href="{name}">{name}</a></li>' for name in names)
    page.write_text(
        f'<!doctype html><meta charset="utf-8"><title>{html.escape(folder.name)}</title><ul>{items}</ul>\n',
        encoding="utf-8",
    )


def setup(app: Any) -> dict[str, Any]:
    """Registers the extension with Sphinx."""
    app.add_transform(LinkedFiles)
    app.connect("env-purge-doc", forget)
    app.connect("env-merge-info", merge)
    app.connect("build-finished", copy_linked)
    return {"parallel_read_safe": True, "parallel_write_safe": True, "env_version": 1}
