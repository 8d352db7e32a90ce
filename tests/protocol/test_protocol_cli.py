"""The commands `epymarl-lmac protocol show`, `check` and `diff`."""

import json
import shutil
import sys

import numpy as np
import pytest

from epymarl_lmac import cli
from epymarl_lmac.paths import protocols_root
from epymarl_lmac.protocol.analysis import compare as compare_module
from epymarl_lmac.protocol.commands import cli as protocol_cli

LOOKOUT = protocols_root() / "lookout" / "3a-4k" / "default"
GOOD = (
    "import torch as th\n\n\ndef message_design_instruction():\n    return 'the first agent tells all'\n\n\n"
    "def communication(o):\n    heard = o[:, 0:1, 0:2].expand(-1, 3, 2)\n    return th.cat([o, heard], dim=-1)\n"
)
SIZES = ["--agents", "3", "--dim", "5"]


@pytest.fixture
def run(monkeypatch, capsys):
    """Returns a function that runs the command line and gives (exit code, standard output, standard error)."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["epymarl-lmac", "protocol", *map(str, words)])
        monkeypatch.setenv("COLUMNS", "160")
        code = cli.main()
        caught = capsys.readouterr()
        return code, caught.out, caught.err

    return call


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "k0.py"
    path.write_text(GOOD)
    return path


def test_check_accepts_and_says_what_is_sent(run, text):
    code, out, _ = run("check", text, *SIZES, "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["verdict"], found["layer"], found["message_dim"]) == ("accepted", None, 2)
    assert {"grammar", "child and extraction", "contract", "flow and profile", "total"} == set(found["seconds"])
    assert all(value >= 0 for value in found["seconds"].values()) and found["seconds"]["total"] > 0
    assert found["profile"]["floats"] == [[0, 2, 2], [0, 0, 0], [0, 0, 0]]
    assert found["profile"]["bits"][0] == [0, 64, 64]


def test_check_reads_the_sizes_of_a_task(run):
    code, out, _ = run("check", LOOKOUT / "k2.py", "--env-config", "lookout", "--history", 10)
    assert code == 0
    assert "accepted: k2.py for input (B, 10, 3, 12), 4 numbers a receiver" in out
    assert "aggregate" in out and "time: grammar" in out


def test_check_takes_settings_after_with(run, text):
    words = ["--env-config", "lbf", "--json", "with", "env_args.players=3"]
    code, out, _ = run("check", text, *words)
    assert code == 0 and json.loads(out)["n_agents"] == 3
    code, out, _ = run("check", text, *words[:-1], "env_args.players=2")
    assert code == 1 and json.loads(out)["layer"] == "run"


REJECTED = {
    "grammar": (GOOD.replace("th.cat", "th.load"), 10),
    "run": (GOOD.replace("0:2].expand(-1, 3, 2)", "0:2].expand(-1, 4, 9)"), 9),
    "contract": (GOOD.replace("th.cat([o, heard]", "th.cat([heard, o]"), None),
}


@pytest.mark.parametrize("layer", REJECTED)
def test_check_names_layer_and_line_of_a_refusal(run, text, layer):
    source, line = REJECTED[layer]
    text.write_text(source)
    code, out, _ = run("check", text, *SIZES, "--json")
    found = json.loads(out)
    assert code == 1
    assert (found["verdict"], found["layer"], found["line"]) == ("rejected", layer, line)
    assert found["reason"] and found["explanation"] and found["profile"] is None


def test_check_shows_the_line_it_refuses(run, text):
    text.write_text(REJECTED["grammar"][0])
    code, out, _ = run("check", text, *SIZES)
    assert code == 1
    assert "rejected: k0.py at layer grammar, line 10, column" in out
    assert "10 | return th.load([o, heard], dim=-1)" in out and "reason: " in out


def test_check_keeps_to_the_message_size(run, text):
    code, out, _ = run("check", text, *SIZES, "--max-message-dim", 1, "--json")
    assert code == 1 and json.loads(out)["layer"] == "contract"


def test_check_measures_on_recorded_data(run, text, tmp_path):
    x = np.random.default_rng(1).integers(0, 2, size=(4, 6, 3, 5)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    code, out, _ = run("check", text, *SIZES, "--data", tmp_path / "x.npy", "--json")
    profile = json.loads(out)["profile"]
    assert code == 0
    assert (profile["data"], profile["rows"], profile["bits"][0]) == ("x.npy", 24, [0, 2, 2])


USAGE = {
    "no sizes": ([], "--env-config ENV, or its sizes"),
    "both": ([*SIZES, "--env-config", "lookout"], "one or the other"),
    "no agents": (["--agents", "0", "--dim", "5"], "at least 1"),
    "history": ([*SIZES, "--history", "0"], "--history 0"),
    "unknown environment": (["--env-config", "no-such-env"], "no-such-env"),
    "stray word": ([*SIZES, "players=2"], "come after `with`"),
    "episodes without a task": ([*SIZES, "--episodes", "4"], "needs --env-config"),
    "data that are not there": ([*SIZES, "--data", "no-such-file.npy"], "cannot be read"),
}


@pytest.mark.parametrize("name", USAGE)
def test_wrong_usage_is_told_and_is_not_a_verdict(run, text, name):
    words, message = USAGE[name]
    code, out, err = run("check", text, *words)
    assert code == 2 and message in err and out == ""


def test_check_of_a_file_that_is_not_there(run, tmp_path):
    code, _, err = run("check", tmp_path / "absent.py", *SIZES)
    assert code == 2 and "absent.py cannot be read" in err


def test_show_prints_draws_and_writes_json(run, tmp_path):
    png, html = tmp_path / "out" / "flow.png", tmp_path / "out" / "flow.html"
    code, out, _ = run("show", LOOKOUT, "--png", png, "--html", html, "--columns")
    assert code == 0
    assert "lookout 3a-4k: N=3, D=12" in out and "k=2: message columns" in out and "4 / 128" in out
    assert png.read_bytes().startswith(b"\x89PNG") and len(png.read_bytes()) > 5000
    assert "0 to 1: 128 bits, 4 numbers" in html.read_text(encoding="utf-8")
    code, out, _ = run("show", LOOKOUT, "--json")
    found = json.loads(out)
    assert code == 0 and [p["k"] for p in found["protocols"]] == [0, 1, 2]
    assert found["protocols"][1]["floats"] == [[0, 1, 1], [1, 0, 1], [1, 1, 0]]


def test_show_measures_on_played_episodes(run):
    code, out, _ = run("show", LOOKOUT, "--env-config", "lookout", "--episodes", 4, "--json")
    lines = [line for line in out.splitlines() if line.startswith("{")]
    found = json.loads(lines[-1])["protocols"][0]
    assert code == 0 and found["data"] == "32 random episodes of lookout"
    assert found["bits"][0][1] < 4 * 32  # few values are seen


def test_show_refuses_a_damaged_bundle(run, tmp_path):
    shutil.copytree(LOOKOUT, tmp_path / "b")
    (tmp_path / "b" / "k1.py").write_text("pass\n")
    code, _, err = run("show", tmp_path / "b")
    assert code == 2 and "k1.py changed" in err


def test_show_refuses_an_unwritable_drawing(run, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = run("show", LOOKOUT, "--png", tmp_path / "file" / "x.png")
    assert code == 2 and "Cannot write" in err


def test_diff_of_a_bundle_with_itself_is_empty(run):
    code, out, _ = run("diff", LOOKOUT, LOOKOUT)
    assert code == 0
    assert [line for line in out.splitlines() if line.startswith("k=")] == [f"k={k}: equal" for k in range(3)]


def test_diff_of_a_text_with_a_bundle_tells_text_size_and_flow(run, tmp_path):
    other = tmp_path / "k1.py"
    other.write_text(GOOD.replace("0:2].expand(-1, 3, 2)", ":].expand(-1, 3, 12)"))
    code, out, _ = run("diff", LOOKOUT, other, "--json")
    (change,) = json.loads(out)["protocols"]
    assert code == 1 and change["k"] == 1 and change["message_dim"] == [3, 12]
    assert "+    heard = o[:, 0:1, :].expand(-1, 3, 12)" in change["text"]
    pairs = {(p["sender"], p["receiver"]): (p["floats_a"], p["floats_b"]) for p in change["pairs"]}
    assert pairs[0, 1] == (1, 12) and pairs[1, 0] == (1, 0)


def test_diff_of_texts_without_sizes_compares_lines_only(run, text, tmp_path):
    other = tmp_path / "other.py"
    other.write_text(GOOD.replace("0:2", "1:3"))
    code, out, _ = run("diff", text, other)
    assert code == 1 and "-    heard = o[:, 0:1, 0:2]" in out and "numbers a receiver" not in out
    assert run("diff", text, text)[0] == 0


def test_diff_names_a_step_that_one_side_lacks():
    (change,) = compare_module.compare({0: ("a\n", None)}, {})
    assert change.different and change.lines[-1] == "-a"


def test_diff_refuses_a_step_that_is_not_there(run, text):
    code, _, err = run("diff", LOOKOUT, text, "--k", 7)
    assert code == 2 and "no protocol k=7" in err


def test_the_command_is_part_of_the_command_line():
    assert protocol_cli.app in [group.typer_instance for group in cli.app.registered_groups]
