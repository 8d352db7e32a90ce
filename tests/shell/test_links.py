"""Every relative link of every page leads to a file, and its anchor to a heading; no site needs to be built."""

import re
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    page.relative_to(ROOT).as_posix()
    for page in [
        *ROOT.glob("*.md"),
        *(p for top in ("docs", "benchmarks", "examples") for p in (ROOT / top).rglob("*.md")),
    ]
)
IS_ADDRESS = re.compile(r"[a-z][a-z+.-]*:", re.IGNORECASE)  # https:, mailto:


def parsed(page: Path) -> list[Token]:
    return MarkdownIt().enable("table").parse(page.read_text(encoding="utf-8"))


def targets(page: Path) -> list[str]:
    """Returns what the links and pictures of a page name, as written."""
    inner = [child for token in parsed(page) for child in token.children or []]
    found = [token.attrGet("href") or token.attrGet("src") for token in inner if token.type in ("link_open", "image")]
    return [str(target) for target in found if target]


def anchors(page: Path) -> set[str]:
    """Returns the anchors that a forge, and the site, give to the headings of a page."""
    tokens, found = parsed(page), set()
    for opening, heading in pairwise(tokens):
        if opening.type != "heading_open":
            continue
        text = "".join(child.content for child in heading.children or [])
        name = re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")
        number = 0
        while (anchor := f"{name}-{number}" if number else name) in found:
            number += 1
        found.add(anchor)
    return found


def broken(page: Path) -> list[str]:
    """Returns the links of a page that lead nowhere."""
    wrong = []
    for target in targets(page):
        if IS_ADDRESS.match(target):
            continue
        path, _, anchor = unquote(target).partition("#")
        file = page.parent / path if path else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            wrong.append(target)
    return wrong


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_a_page_leads_somewhere(page):
    assert broken(ROOT / page) == []


def test_a_missing_file_picture_or_heading_is_found(tmp_path):
    (tmp_path / "other.md").write_text("# Some `code`: a title\n\n## Same\n\n## Same\n")
    page = tmp_path / "page.md"
    page.write_text(
        "# Here\n[a](#here) [b](other.md#some-code-a-title) [c](other.md#same-1) [d](https://x.org/none) [e](.)\n\n"
        "[f](#there) [g](other.md#same-2) [h](none.md) ![i](none.png)\n\n| |\n| --- |\n| [j](none.py) |\n\n"
        "    [k](code.md)\n"
    )
    assert broken(page) == ["#there", "other.md#same-2", "none.md", "none.png", "none.py"]
