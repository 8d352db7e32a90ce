"""Bundles: whole or refused, with the difference named."""

import json
import shutil

import pytest
import torch
import yaml

from epymarl_lmac.errors import BundleError, ProtocolRejected
from epymarl_lmac.paths import protocols_root
from epymarl_lmac.protocol import Bundle, TaskSchema, write_bundle

SOURCE = protocols_root() / "lookout" / "3a-4k" / "default"


@pytest.fixture
def bundle(tmp_path):
    copy = tmp_path / "bundle"
    shutil.copytree(SOURCE, copy)
    return copy


def schema():
    return TaskSchema(**yaml.safe_load((SOURCE / "manifest.yaml").read_text())["task_schema"])


def change(schema, **values):
    return TaskSchema(**{**schema.as_dict(), **values})


def test_shipped_bundle_loads(bundle):
    loaded = Bundle.load(bundle, schema())
    assert len(loaded.programs) == len(loaded.texts) == 3
    assert [p.spec.history for p in loaded.programs] == [None, None, loaded.history]


@pytest.mark.parametrize("name", ["k0.py", "k1.py", "k2.py", "program.json", "constants.safetensors", "manifest.yaml"])
def test_a_missing_file_is_named(bundle, name):
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=f"{name}.*missing"):
        Bundle.load(bundle, schema())


@pytest.mark.parametrize("name", ["k0.py", "k1.py", "k2.py", "program.json", "constants.safetensors"])
def test_a_changed_file_is_named(bundle, name):
    data = bytearray((bundle / name).read_bytes())
    data[-2] ^= 1
    (bundle / name).write_bytes(data)
    with pytest.raises(BundleError, match=f"{name} changed since the bundle was made"):
        Bundle.load(bundle, schema())


def test_every_difference_of_the_task_is_named(bundle):
    other = change(schema(), n_agents=4, state_dim=9, card_hash="0" * 64)
    with pytest.raises(BundleError) as caught:
        Bundle.load(bundle, other)
    for part in ("n_agents: bundle 3, run 4", "state_dim: bundle 7, run 9", "card_hash"):
        assert part in str(caught.value)


def test_a_host_that_knows_no_cards_compares_sizes_only(bundle):
    Bundle.load(bundle, change(schema(), task="", card_hash=None))


def rehash(bundle, name):
    import hashlib

    path = bundle / "manifest.yaml"
    manifest = yaml.safe_load(path.read_text())
    manifest["sha256"][name] = hashlib.sha256((bundle / name).read_bytes()).hexdigest()
    path.write_text(yaml.safe_dump(manifest))


def broken(**changes):
    def edit(program):
        program.update(changes)

    return edit


def operation(index, **changes):
    def edit(program):
        program["operations"][index].update(changes)

    return edit


HOSTILE = {
    "unknown operation": operation(1, op="os.system"),
    "torch attribute": operation(1, op="aten.from_file.default"),
    "forward reference": operation(1, args=[{"n": 5}]),
    "negative reference": operation(1, args=[{"n": -1}]),
    "object argument": operation(1, args=[{"call": "x"}]),
    "huge number": operation(1, args=[2**60]),
    "deep nesting": operation(1, args=[[[[[[[1]]]]]]]),
    "keyword": operation(1, kwargs={"__class__.x": 1}),
    "second input": operation(1, op="input", args=[]),
    "missing constant": operation(1, op="constant", args=["c99"]),
    "no operations": broken(operations=[]),
    "operations of another kind": broken(operations={"a": 1}),
    "output out of range": broken(output=10_000),
    "output of another kind": broken(output="0"),
    "other format": broken(format=99),
    "other sizes": broken(n_agents=4),
    "negative size": broken(x_dim=-1),
    "message size": broken(message_dim=-3),
    "extra field": broken(extra=1),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_malformed_program_is_refused_even_with_matching_hashes(bundle, name):
    path = bundle / "program.json"
    content = json.loads(path.read_text())
    HOSTILE[name](content["programs"][0])
    path.write_text(json.dumps(content))
    rehash(bundle, "program.json")
    with pytest.raises(BundleError):
        Bundle.load(bundle, schema())


@pytest.mark.parametrize("text", ["", "[", "null", "{}", '{"programs": 3}', '{"programs": [3]}', "[" * 100_000])
def test_a_program_file_that_is_no_program_is_refused(bundle, text):
    (bundle / "program.json").write_text(text)
    rehash(bundle, "program.json")
    with pytest.raises(BundleError):
        Bundle.load(bundle, schema())


@pytest.mark.parametrize("text", ["", "- 1", "{", "format: 1", "sha256: {../../x: '0'}\nformat: 1"])
def test_a_damaged_manifest_is_refused(bundle, text):
    (bundle / "manifest.yaml").write_text(text)
    with pytest.raises(BundleError):
        Bundle.load(bundle, schema())


def test_nothing_is_written_if_a_text_is_refused(bundle):
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    texts = [(SOURCE / f"k{k}.py").read_text() for k in range(3)]
    texts[1] = texts[1].replace("import torch as th", "import os")
    with pytest.raises(ProtocolRejected, match="layer grammar"):
        write_bundle(bundle, texts, schema(), [0, 1], 10)
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before


def test_rebuilding_from_the_texts_gives_the_same_program(bundle):
    loaded = Bundle.load(bundle, schema())
    again = write_bundle(bundle.parent / "again", loaded.texts, schema(), loaded.important_state, loaded.history)
    for old, new in zip(loaded.programs, again.programs, strict=True):
        o = torch.rand(old.spec.input_shape(6))
        assert torch.equal(old(o), new(o))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["reply.json"], "reply.json, which belong to no bundle"),
        (["manifest.yaml", "k0.py", "notes.txt"], "notes.txt, which belong to no bundle"),
        (["manifest.yaml", "calls/a.md"], "calls/, which belong to no bundle"),
        (["k0.py"], "no manifest.yaml"),
    ],
)
def test_a_folder_that_is_no_bundle_is_not_replaced(tmp_path, names, said):
    folder = tmp_path / "work"
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("paid for")
    loaded = Bundle.load(SOURCE, schema())
    with pytest.raises(BundleError, match=said):
        write_bundle(folder, loaded.texts, schema(), loaded.important_state, loaded.history)
    assert all((folder / name).read_text() == "paid for" for name in names)
    assert sorted(tmp_path.iterdir()) == [folder]


def test_a_bundle_replaces_an_empty_folder_and_another_bundle_with_its_page(bundle):
    loaded = Bundle.load(SOURCE, schema())
    (bundle / "index.html").write_text("page")
    empty = bundle.parent / "empty"
    empty.mkdir()
    for folder in (bundle, empty):
        write_bundle(folder, loaded.texts, schema(), [0, 1], loaded.history)
        assert Bundle.load(folder, schema()).important_state == [0, 1]
    assert sorted(path.name for path in bundle.parent.iterdir()) == ["bundle", "empty"]


def test_a_bundle_that_cannot_be_replaced_stays(bundle, monkeypatch):
    from pathlib import Path

    loaded, rename = Bundle.load(bundle, schema()), Path.rename

    def fails_for_the_new_one(path, target):
        if path.name == "new":
            raise OSError(28, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fails_for_the_new_one)
    with pytest.raises(BundleError, match="No space left"):
        write_bundle(bundle, loaded.texts, schema(), [0], loaded.history)
    assert Bundle.load(bundle, schema()).important_state == loaded.important_state
    assert list(bundle.parent.iterdir()) == [bundle]
