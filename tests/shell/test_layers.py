"""Imports go down only: designer, then host, then package. Doors upwards are few, named here, and inside functions."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HOST = {path.stem for path in (ROOT / "src").iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
HOST_DOORS = {"epymarl_lmac/cli.py"}  # the command line starts the host
DESIGNER_DOORS = {
    "epymarl_lmac/protocol/commands/cli.py",  # protocol check of a task by name
    "epymarl_lmac/protocol/commands/samples.py",  # ... on episodes that are played for it
}


PROTOCOL_LAYERS = ("engine", "analysis", "commands")  # each knows only those before it


def modules(folder):
    """File, every module or name imported with its full path, and whether the import stands at the top of the file."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        at_top = set(tree.body)
        file = path.relative_to(ROOT).as_posix()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from ((file, alias.name, node in at_top) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield from ((file, f"{node.module}.{alias.name}", node in at_top) for alias in node.names)


def imports(folder):
    """The same with the top-level package only."""
    return ((file, name.split(".")[0], at_top) for file, name, at_top in modules(folder))


@pytest.fixture(scope="module")
def package():
    return list(imports("epymarl_lmac"))


def test_the_package_reaches_the_host_through_its_doors_only(package):
    upwards = {(file, at_top) for file, name, at_top in package if name in HOST}
    assert upwards == {(file, False) for file in HOST_DOORS}


def test_the_package_reaches_the_designer_through_its_doors_only(package):
    upwards = {(file, at_top) for file, name, at_top in package if name == "protocol_gen"}
    assert upwards == {(file, False) for file in DESIGNER_DOORS}


def test_the_host_knows_no_designer():
    assert [file for file, name, _ in imports("src") if name == "protocol_gen"] == []


def test_the_designer_starts_the_host_inside_functions():
    assert [file for file, name, at_top in imports("protocol_gen") if name in HOST and at_top] == []


@pytest.mark.parametrize("layer", PROTOCOL_LAYERS)
def test_inside_the_protocol_package_imports_go_down_only(layer):
    own = [(file, name) for file, name, _ in modules(f"epymarl_lmac/protocol/{layer}") if "_lmac.protocol." in name]
    assert own, f"nothing is left in {layer}"
    accepted = PROTOCOL_LAYERS[: PROTOCOL_LAYERS.index(layer) + 1]
    assert [(file, name) for file, name in own if name.split(".")[2] not in accepted] == []


def test_nothing_installed_needs_tests_benchmarks_or_examples():
    for folder in ("epymarl_lmac", "src", "protocol_gen"):
        assert [file for file, name, _ in imports(folder) if name in ("tests", "benchmarks", "examples")] == []
