"""The page of a design, read back from a real browser."""

import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from chat_server import ChatServer, Turn
from designs import GOOD, TEXTS, design, openai_designer, options

from protocol_gen.drawing import heat_map
from protocol_gen.report import write_report
from protocol_gen.results import results

CHROMIUM = next((name for name in ("chromium", "chromium-browser", "google-chrome") if shutil.which(name)), None)


class Page(HTMLParser):
    """Collects table cells, map cells by drawing, texts by id, and what the page would load."""

    def __init__(self, html):
        super().__init__()
        self.cells, self.maps, self.texts, self.loads = {}, {}, {}, []
        self._table = self._svg = self._cell = self._text = None
        self._shape = self._title = ""  # the drawn shape, and whether its title is being read
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        a = dict(attributes)
        self.loads += [a[key] for key in ("src", "href") if key in a and not a[key].startswith("#")]
        if tag == "table":
            self._table = a["id"]
        elif tag == "svg":
            self._svg = a["id"]
            self.maps[self._svg] = []
        elif tag == "td":
            self._cell = (self._table, a["data-row"], a["data-column"])
        elif tag in ("rect", "path"):
            self._shape = tag
            if "data-columns" in a:
                self.maps[self._svg].append(a["data-columns"])
        elif tag == "title" and self._shape == "rect":
            self._title = "open"
        elif tag in ("p", "pre") and "id" in a:
            self._text = a["id"]

    def handle_endtag(self, tag):
        if tag == "td":
            self._cell = None
        elif tag in ("p", "pre"):
            self._text = None
        elif tag == "title":
            self._title = ""

    def handle_data(self, data):
        if self._title:
            self.maps[self._svg].append(data.rsplit(": ", 1)[1])
        elif self._cell:
            self.cells[self._cell] = self.cells.get(self._cell, "") + data
        elif self._text:
            self.texts[self._text] = self.texts.get(self._text, "") + data


@pytest.fixture
def finished(buffer, builder, tmp_path):
    with ChatServer([Turn(text) for text in GOOD]) as server:
        made = design(options(buffer, tmp_path), tmp_path, openai_designer(server), builder)
        bundle = made.run()
    return made, write_report(made, bundle, tmp_path / "page.html")


def check(html, made):
    page = Page(html)
    steps = results(made.work)
    assert page.loads == []
    for n, (kind, r, _) in enumerate(steps):
        assert page.cells["summary", kind, "success"] == f"{r.success:.3f}"
        assert page.cells["summary", kind, "imbalance"] == f"{r.imbalance:.5f}"
        assert page.maps[f"success_NI-{n}"] == [f"{v:.3f}" for row in r.success_NI for v in row]
        assert len(page.maps[f"success_TN-{n}"]) == 3 * 3
    assert page.texts["goal"] == made.card.goal
    assert page.texts["text-2"].strip() == TEXTS[2].strip()
    # At k = 0 four columns are sums over all agents of what the one with the scout's flag sees.
    assert page.maps["flow-0"] == ["4"] * 6
    # One bit a column from each of two others at k = 0 and k = 2; what k = 1 says never changes.
    assert page.cells["cost", "all", "bits"] == str(2 * 4 + 0 + 2 * 4)
    assert page.cells["design", "all", "calls"] == "6"
    assert "Improvement Suggestions" in html and "difference from k = 0" in html


def test_the_page_is_one_file_and_says_what_was_measured(finished):
    made, path = finished
    html = path.read_text()
    check(html, made)
    assert "http" not in re.sub(r"<pre.*?</pre>", "", html, flags=re.DOTALL)


def test_a_map_of_many_cells_stays_small():
    rows, columns = [f"agent {i}" for i in range(22)], [f"agent{i}_health" for i in range(71)]
    drawn = heat_map([[0.123] * 71] * 22, rows, columns, "Success.", "map")
    assert len(drawn) < 80 * 22 * 71  # a page has about ten of these and should stay under 1.5 MB


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_a_browser_shows_the_same_values(finished):
    made, path = finished
    words = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={path.parent / 'profile'}"]
    done = subprocess.run(
        [*words, "--dump-dom", path.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    assert "<nav>" in done.stdout
    check(done.stdout, made)
