"""The command line, in processes of its own."""

import os
import signal
import subprocess
import sys
import time

import pytest
import yaml
from chat_server import ChatServer, Turn
from designs import GOOD, TEXTS, design, openai_designer, options
from host_runs_for_design import ROOT, train

from epymarl_lmac.protocol import Bundle
from protocol_gen.__main__ import execute
from protocol_gen.command import parser
from protocol_gen.options import Options


def test_every_option_has_a_flag_with_the_same_default():
    words = vars(parser().parse_args(["--env-config=lookout"]))
    defaults = Options("lookout", [])
    for name in set(Options.__dataclass_fields__) - {"env", "updates", "important"}:
        assert words[name] == getattr(defaults, name), name


def test_the_designer_can_be_set_in_the_environment(monkeypatch):
    monkeypatch.setenv("PROTOCOL_GEN_MODEL", "mine")
    monkeypatch.setenv("PROTOCOL_GEN_RETRIES", "7")
    words = parser().parse_args(["--env-config=lookout"])
    assert (words.model, words.retries, words.timeout) == ("mine", 7, 300.0)


def test_prompts_and_forecast_need_no_designer(capsys, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert execute(["--env-config=lbf", "--dry-run", "with", "env_args.players=6"]) == 0
    assert "| k2/design | 1 |" in capsys.readouterr().out
    assert execute(["--env-config=lookout", "--print-prompts"]) == 0
    assert "===== k1/analyst =====" in capsys.readouterr().out


def test_the_bundle_trains_in_lmac_qmix(buffer, builder, tmp_path):
    with ChatServer([Turn(text) for text in GOOD]) as server:
        bundle = design(options(buffer, tmp_path), tmp_path, openai_designer(server), builder).run()
    run = train("lmac_qmix", tmp_path / "results", f"protocol_path={bundle.path}")
    record = yaml.safe_load((run / "run.json").read_text())
    assert record["communication"]["protocol"]["notes"]["designer"] == "openai"


def start(server, folder, *more):
    words = [sys.executable, "-m", "protocol_gen", "--env-config=lookout", f"--work={folder / 'work'}"]
    words += [f"--out={folder / 'bundle'}", "--model=scripted-model", f"--base-url={server.url}", "--episodes=64"]
    words += ["--heldout=16", "--train-steps=100", "--decoder-batches=3", "--steps-per-batch=1", *more]
    environment = {**os.environ, "OPENAI_API_KEY": "right-key", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_a_wrong_key_ends_with_one_message(tmp_path):
    with ChatServer([]) as server, start(server, tmp_path, "--api-key=wrong") as process:
        output = process.communicate(timeout=200)[0]
        assert process.returncode == 2 and "error: select/a1:" in output and "refused the key" in output
        assert "Traceback" not in output and len(server.requests) == 1


@pytest.mark.slow
def test_killed_for_real_while_it_waits_the_same_command_goes_on(tmp_path):
    turns = [Turn(GOOD[0]), Turn(GOOD[1], delay_s=60), *(Turn(text) for text in GOOD[1:])]
    with ChatServer(turns) as server:
        with start(server, tmp_path, "--ship-all") as process:
            deadline = time.monotonic() + 200
            while len(server.requests) < 2 and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=60)
        with start(server, tmp_path, "--ship-all") as process:
            output = process.communicate(timeout=400)[0]
        assert process.returncode == 0, output
        # Only the call that had no answer yet was made again.
        assert len(server.requests) == 7
    assert Bundle.load(tmp_path / "bundle", None).texts == TEXTS
    assert "| k = 0, 1, 2 |" in output and (tmp_path / "work" / "report.html").is_file()
