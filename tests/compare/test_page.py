"""The page: complete, self-contained, and alive in a browser."""

import base64
import html
import re
import shutil
import subprocess

import pytest
from fake_records import comparison

from epymarl_lmac.compare.fairness import Difference
from epymarl_lmac.compare.page import page_html, write_page
from epymarl_lmac.compare.results import summarise
from epymarl_lmac.compare.tables import all_tables


@pytest.fixture(scope="module")
def made():
    one = comparison(
        unfinished=[("good on a, seed 4", "failed at step 50", ["ValueError: 1 < 2"])],
        unfair=[Difference("a", "update ratio", "batch_size", {"good": 32, "bad": 16})],
        method=[Difference("a", "method", "lr", {"good": 0.1, "bad": 0.2})],
        commands=["epymarl-lmac compare --algs good,bad"],
        trials={"good": "12"},
    )
    return one, summarise(one)


@pytest.fixture(scope="module")
def text(made):
    return page_html(*made)


def test_the_page_needs_nothing_else(text):
    outside = re.findall(r'(?:src|href)=(?!"?(?:data:|#))[^ >]*', text)
    assert outside == [] and "@import" not in text and "url(" not in text


def test_numbers_intervals_and_n_are_shown(text, made):
    row = made[1].rows[0]
    assert f"{row.mean.value:.3f} [{row.mean.low:.3f}, {row.mean.high:.3f}]" in text
    assert "n = 3 runs" in text and "good (n=3)" in text and "good (n=6)" in text
    assert ">12<" in text and "not stated" in text


def test_what_is_unfair_unfinished_and_different_is_said(text):
    for words in ("Not on equal terms", "batch_size (good: 32, bad: 16)", "failed at step 50", "ValueError: 1 &lt; 2"):
        assert words in text
    assert "<td class=text>lr</td>" in text and "epymarl-lmac compare --algs good,bad" in text


def test_every_run_is_drawn(text):
    assert text.count('class="run s0"') == 6 and text.count('class="run s1"') == 6
    assert text.count('class="point"') == 12


def test_lines_differ_without_colour(text):
    dashes = set(re.findall(r'class="mean" stroke-dasharray="([^"]*)"', text))
    assert len(dashes) == 2
    assert '<circle class="mark"' in text and '<rect class="mark"' in text


def test_all_tables_are_inside(text, made):
    for name, table in all_tables(*made).items():
        data = re.search(rf'download="{name}" href="data:text/plain;base64,([^"]*)"', text)[1]
        assert base64.b64decode(data).decode() == table


def test_a_page_of_twelve_runs_weighs_little(made, tmp_path):
    assert write_page(*made, tmp_path).stat().st_size < 150_000


def test_names_cannot_break_the_page():
    odd = comparison(notes=["<script>alert(1)</script>"])
    assert "<script>alert" not in page_html(odd, summarise(odd))


PROBE = """<script>
addEventListener("load", () => {
  const lines = () => [...document.querySelectorAll("g.run.s0")].filter((e) => e.getClientRects().length).length;
  const parts = () => [...document.querySelectorAll("section[data-env]")].filter((e) => !e.hidden).length;
  const found = [lines(), parts()];
  document.querySelector("input[data-alg='0']").click();
  found.push(lines());
  document.querySelector("input[data-alg='0']").click();
  const choice = document.getElementById("env");
  choice.value = "b";
  choice.dispatchEvent(new Event("change"));
  found.push(parts(), lines());
  document.body.dataset.found = found.join(" ") + " errors:" + window.problems.length;
});
</script>"""
WATCH = "<script>window.problems = []; addEventListener('error', (e) => window.problems.push(e.message));</script>"


@pytest.mark.parametrize("width", [390, 1200])
def test_a_browser_draws_toggles_and_filters_without_an_error(text, tmp_path, width):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("chromium is not installed")
    page = tmp_path / "page.html"
    page.write_text(text.replace("<head>", "<head>" + WATCH).replace("</body>", PROBE + "</body>"))
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},900", "--dump-dom"]
    done = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    found = html.unescape(re.search(r'data-found="([^"]*)"', done.stdout)[1])
    assert found == "6 2 0 1 3 errors:0"
