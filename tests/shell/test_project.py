"""The project itself: docs that match the code, clean lint and types."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from envs import ENTRIES
from epymarl_lmac.settings import algorithms, environments, merge

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
METHODS = (ROOT / "docs/methods/README.md").read_text()
ENVIRONMENTS = (ROOT / "docs/environments/README.md").read_text()


def test_readme_starts_with_the_two_commands():
    block = README.split("\n\n")[1]
    assert [line.split("#")[0].strip() for line in block.splitlines()] == ["make quickstart", "make test"]


def test_readme_tables_name_what_there_is():
    listed = set(re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE))
    assert listed == {*algorithms(), *environments()}
    assert {merge("qmix", env)["env"] for env in environments()} == set(ENTRIES)


def test_the_page_of_methods_says_of_each_what_the_readme_says():
    page = dict(re.findall(r"^\| \[`(\w+)`\]\(\1\.md\) \| (.+) \|$", METHODS, re.MULTILINE))
    readme = re.findall(r"^\| `(\w+)` \| (.+) \(\[page\]\(docs/methods/\1\.md\)\) \|$", README, re.MULTILINE)
    assert page == dict(readme)
    assert set(page) == {alg for alg in algorithms() if merge(alg, "lbf")["comm"] is not None}


def test_the_page_of_environments_names_all_and_says_what_plays_each():
    assert set(environments()) <= set(re.findall(r"`(\w+)`", ENVIRONMENTS))
    rows = re.findall(r"^\| `(\w+)` \| .+ \| `(\w+)` \| .+ \|$", ENVIRONMENTS, re.MULTILINE)
    assert rows
    for env, runner in rows:
        entry = ENTRIES[merge("qmix", env)["env"]]
        assert runner == ("parallel" if entry.batched is None else "vector"), env


def test_commands_and_files_that_the_readme_names_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"quickstart", "test"} <= targets
    for path in re.findall(r"(?:python |\]\()((?:src|benchmarks|docs)/[\w./-]+)", README):
        assert (ROOT / path).exists(), path


def run(*words):
    if importlib.util.find_spec(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed")
    return subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "words",
    [
        ("ruff", "check", "."),
        ("ruff", "format", "--check", "."),
        ("mypy", "epymarl_lmac", "src", "protocol_gen", "benchmarks"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_lint_and_types_are_clean(words):
    done = run(*words)
    assert done.returncode == 0, done.stdout
