"""Programs are kept by the hash of what they follow from; what was tampered with is built anew."""

import hashlib

import pytest
import torch

from epymarl_lmac.errors import ProtocolRejected
from epymarl_lmac.protocol import ProtocolSpec, build_program
from epymarl_lmac.protocol.engine import build, cache
from epymarl_lmac.protocol.engine.build import Limits

SPEC = ProtocolSpec(3, 5, None)
TEXT = (
    "import torch as th\ndef message_design_instruction():\n    return 'x'\n"
    "def communication(o):\n    return th.cat([o, o * 2], dim=-1)\n"
)


@pytest.fixture
def children(monkeypatch):
    """Counts the children that are asked."""
    asked = []
    real = build.run_child
    monkeypatch.setattr(build, "run_child", lambda *given: asked.append(1) or real(*given))
    return asked


def files():
    return sorted(cache.folder().iterdir()) if cache.folder().is_dir() else []


def test_a_text_is_built_once(children):
    first, second = build_program(TEXT, SPEC), build_program(TEXT, SPEC)
    o = torch.randn(4, 3, 5)
    assert len(children) == 1 and torch.equal(first(o), second(o)) and len(files()) == 1
    build_program(TEXT, ProtocolSpec(4, 5, None))
    build_program(TEXT.replace("2", "3"), SPEC)
    assert len(children) == 3 and len(files()) == 3


@pytest.mark.parametrize("where", [0, 20, 40, 200, -1])
def test_a_changed_file_is_not_used(children, where, caplog):
    o = torch.randn(4, 3, 5)
    expected = build_program(TEXT, SPEC)(o)
    (path,) = files()
    data = bytearray(path.read_bytes())
    data[where] ^= 1
    path.write_bytes(data)
    assert torch.equal(build_program(TEXT, SPEC)(o), expected)
    assert len(children) == 2 and "built anew" in caplog.text
    build_program(TEXT, SPEC)
    assert len(children) == 2  # the good one is back


@pytest.mark.parametrize("body", [b"", b"\xff" * 100, (2**62).to_bytes(8, "little") + b"[]"])
def test_a_file_with_a_fitting_hash_and_no_program_is_not_used(children, body):
    build_program(TEXT, SPEC)
    (path,) = files()
    path.write_bytes(hashlib.sha256(body).digest() + body)
    build_program(TEXT, SPEC)
    assert len(children) == 2


def test_what_is_kept_still_has_to_satisfy_the_contract(children):
    build_program(TEXT, SPEC)
    with pytest.raises(ProtocolRejected, match="gets 5 numbers; at most 4"):
        build_program(TEXT, SPEC, Limits(max_message_dim=4))
    assert len(children) == 1


def test_rejected_texts_are_not_kept(children):
    for _ in range(2):
        with pytest.raises(ProtocolRejected):
            build_program(TEXT.replace("[o, o * 2]", "[o * 2, o]"), SPEC)
    assert len(children) == 2 and files() == []


def test_it_can_be_moved_and_switched_off(children, monkeypatch, tmp_path):
    monkeypatch.setenv(cache.VARIABLE, "off")
    build_program(TEXT, SPEC)
    build_program(TEXT, SPEC)
    assert len(children) == 2 and cache.folder() is None
    monkeypatch.delenv(cache.VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    build_program(TEXT, SPEC)
    assert len(list((tmp_path / "xdg" / "epymarl-lmac" / "programs").iterdir())) == 1
    build_program(TEXT, SPEC, Limits(cache=False))
    assert len(children) == 4


def test_a_folder_that_cannot_be_written_is_no_error(children, monkeypatch, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "file" / "x"))
    build_program(TEXT, SPEC)
    assert "cannot be kept" in caplog.text
