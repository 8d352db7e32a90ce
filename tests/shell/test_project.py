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


def test_readme_starts_with_the_two_commands():
    block = README.split("\n\n")[1]
    assert [line.split("#")[0].strip() for line in block.splitlines()] == ["make quickstart", "make test"]


def test_readme_tables_name_what_there_is():
    listed = set(re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE))
    assert listed == {*algorithms(), *environments()}
    assert {merge("qmix", env)["env"] for env in environments()} == set(ENTRIES)


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
