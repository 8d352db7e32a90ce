"""Attaching changes what it says and nothing else; detaching restores every byte."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from fake_host import commit, make_host, tree_hash
from typer.testing import CliRunner

from epymarl_lmac.cli import app
from epymarl_lmac.errors import AttachError
from epymarl_lmac.paths import config_root
from epymarl_lmac.plugin.attach import ENTRY_LINE, plan_attach, plan_detach, with_entry_line
from epymarl_lmac.plugin.manifest import FILE, Manifest
from epymarl_lmac.settings import algorithms, environments
from epymarl_lmac.settings.load import merge
from epymarl_lmac.tasks import ENTRIES

KINDS = ("epymarl", "epymarl_v1", "pymarl2")


@pytest.fixture(params=KINDS)
def host(request, tmp_path):
    root = make_host(tmp_path / "host", request.param)
    commit(root)
    return root


@pytest.fixture
def epymarl(tmp_path):
    root = make_host(tmp_path / "host", "epymarl")
    commit(root)
    return root


def attach(root, prefix=""):
    plan = plan_attach(root, prefix)
    plan.carry_out()
    return plan


def detach(root):
    plan_detach(root).carry_out()


@pytest.mark.parametrize("prefix", ["", "lmac-"])
def test_detach_restores_every_byte(host, prefix):
    before = tree_hash(host)
    attach(host, prefix)
    assert tree_hash(host) != before
    detach(host)
    assert tree_hash(host) == before


def test_attach_changes_exactly_what_it_prints(host):
    before = tree_hash(host)
    printed = CliRunner().invoke(app, ["attach", str(host)]).output
    after = tree_hash(host)
    changed = {name for name in after if after[name] != before.get(name)}
    assert set(before) <= set(after)
    named = {
        line.split()[1].rstrip(",") for line in printed.splitlines() if line.lstrip()[:1] in "+~-" and line.strip()
    }
    assert named == changed
    added = (host / "src/main.py").read_text().splitlines()
    assert [line for line in added if "epymarl_lmac" in line] == [ENTRY_LINE]


def test_check_changes_nothing_and_says_the_same(host):
    before = tree_hash(host)
    said = CliRunner().invoke(app, ["attach", str(host), "--check"]).output
    assert tree_hash(host) == before
    done = CliRunner().invoke(app, ["attach", str(host)]).output
    assert said.replace("nothing changed (--check)", "attached") == done


def test_attaching_again_changes_nothing(host):
    attach(host)
    before = tree_hash(host)
    assert plan_attach(host).is_empty
    assert "nothing to change" in CliRunner().invoke(app, ["attach", str(host)]).output
    assert tree_hash(host) == before


def test_no_code_of_ours_is_in_the_host(host):
    before = set(tree_hash(host))
    attach(host)
    assert {Path(name).suffix for name in set(tree_hash(host)) - before} == {".yaml", ".json"}


def test_every_config_of_ours_is_attached_or_named_as_kept(host):
    notes = " ".join(attach(host).notes)
    for folder, names in (("algs", algorithms()), ("envs", environments())):
        for name in names:
            if folder == "envs" and not ENTRIES[merge("qmix", name)["env"]].in_hosts:
                continue
            own = (host / f"src/config/{folder}/{name}.yaml").read_text()
            assert own.startswith("# Written by") or f"{folder}/{name}" in notes


def test_environments_that_hosts_wrap_themselves_stay_out(host):
    attach(host, "lmac-")
    assert not list((host / "src/config/envs").glob("*pettingzoo*"))
    assert not {"pettingzoo", "gymma"} & set(Manifest.read(host).registries["envs"].values())


def test_prefix_goes_before_what_the_host_has_too(epymarl):
    attach(epymarl, "lmac-")
    values = yaml.safe_load((epymarl / "src/config/algs/lmac-qmix.yaml").read_text())
    assert (values["name"], values["learner"], values["mac"], values["agent"]) == (
        "lmac-qmix",
        "lmac-q_learner",
        "lmac-basic_mac",
        "lmac-rnn",
    )
    assert (epymarl / "src/config/algs/qmix.yaml").read_text() == "name: qmix\nlearner: q_learner\n"
    assert (epymarl / "src/config/algs/lmac_qmix.yaml").is_file()


def test_a_name_the_user_has_is_refused_without_prefix(epymarl):
    mine = epymarl / "src/config/algs/lmac_qmix.yaml"
    mine.write_text("name: mine\n")
    before = tree_hash(epymarl)
    with pytest.raises(AttachError, match=r"config/algs 'lmac_qmix'.*--prefix"):
        plan_attach(epymarl)
    assert tree_hash(epymarl) == before
    attach(epymarl, "p_")
    assert mine.read_text() == "name: mine\n"
    assert (epymarl / "src/config/algs/p_lmac_qmix.yaml").is_file()
    detach(epymarl)
    assert tree_hash(epymarl) == before


def test_a_registry_name_the_user_has_is_refused(epymarl):
    with (epymarl / "src/learners/__init__.py").open("a") as file:
        file.write("REGISTRY['ours_q_learner'] = Learner\n")
    with pytest.raises(AttachError, match="learners 'ours_q_learner'"):
        plan_attach(epymarl)


def test_a_prefixed_name_that_is_taken_is_refused(epymarl):
    (epymarl / "src/config/algs/p-qmix.yaml").write_text("name: mine\n")
    with pytest.raises(AttachError, match=r"'p-qmix'.*another --prefix"):
        plan_attach(epymarl, "p-")


@pytest.mark.parametrize("name", ["envs/lbf.py", "modules/comm/lmac.py"])
def test_a_module_that_hides_ours_is_refused(epymarl, name):
    theirs = epymarl / "src" / name
    theirs.parent.mkdir(exist_ok=True)
    (theirs.parent / "__init__.py").touch()
    theirs.write_text("")
    with pytest.raises(AttachError, match=name.replace(".", r"\.")):
        plan_attach(epymarl)


def test_another_prefix_needs_a_detach_first(epymarl):
    attach(epymarl)
    with pytest.raises(AttachError, match="detach"):
        plan_attach(epymarl, "p-")


@pytest.mark.parametrize("is_staged", [False, True])
def test_a_dirty_main_is_refused(epymarl, is_staged):
    main = epymarl / "src/main.py"
    main.write_text(main.read_text() + "# mine\n")
    if is_staged:
        commit_words = ["git", "-C", str(epymarl), "add", "src/main.py"]
        subprocess.run(commit_words, check=True)
    before = tree_hash(epymarl)
    with pytest.raises(AttachError, match="not committed"):
        plan_attach(epymarl)
    assert tree_hash(epymarl) == before


def test_a_folder_without_git_is_attached(tmp_path):
    root = make_host(tmp_path / "host", "pymarl2")
    before = tree_hash(root)
    attach(root)
    detach(root)
    assert tree_hash(root) == before


def test_a_host_inside_another_projects_checkout_is_attached(tmp_path):
    (tmp_path / "README.md").write_text("Another project.\n")
    commit(tmp_path)
    root = make_host(tmp_path / "host", "epymarl")
    attach(root)
    assert ENTRY_LINE in (root / "src/main.py").read_text()


@pytest.mark.parametrize("name", ["", "src", "src/config"])
def test_what_is_not_a_host_is_refused(epymarl, tmp_path, name):
    (tmp_path / "other/src/config").mkdir(parents=True)
    with pytest.raises(AttachError, match="is not a host"):
        plan_attach(tmp_path / "other" / name)
    if name == "src":
        assert plan_attach(epymarl / name).root == epymarl


def test_a_host_of_an_unknown_kind_is_refused(epymarl):
    (epymarl / "src/config/default.yaml").write_text("width: 64\n")
    with pytest.raises(AttachError, match=r"not supported.*PyMARL2"):
        plan_attach(epymarl)


def test_changes_to_main_after_attaching_survive_detaching(epymarl):
    original = (epymarl / "src/main.py").read_text()
    attach(epymarl)
    main = epymarl / "src/main.py"
    main.write_text(main.read_text() + "# mine\n")
    plan = plan_detach(epymarl)
    assert any("these changes stay" in note for note in plan.notes)
    plan.carry_out()
    assert main.read_text() == original + "# mine\n"


def test_an_edited_config_is_never_deleted(epymarl):
    attach(epymarl)
    config = epymarl / "src/config/algs/lmac_qmix.yaml"
    config.write_text(config.read_text().replace("0.0005", "0.001"))
    for plan in (plan_attach, plan_detach):
        with pytest.raises(AttachError, match="was changed after it was added"):
            plan(epymarl)


def test_detaching_what_is_not_attached_says_so(epymarl):
    result = CliRunner().invoke(app, ["detach", str(epymarl)])
    assert isinstance(result.exception, AttachError) and "not attached" in str(result.exception)


def test_a_line_without_record_is_refused(epymarl):
    attach(epymarl)
    (epymarl / FILE).unlink()
    with pytest.raises(AttachError):
        plan_attach(epymarl)


@pytest.mark.parametrize("content", ["{", "[]", json.dumps({"format": 99})])
def test_a_damaged_record_is_refused(epymarl, content):
    attach(epymarl)
    (epymarl / FILE).write_text(content)
    with pytest.raises(AttachError):
        plan_detach(epymarl)


def test_a_failing_write_puts_everything_back(epymarl, monkeypatch):
    from epymarl_lmac.plugin import changes as module

    before, put, calls = tree_hash(epymarl), module._put, []

    def failing(path, content):
        calls.append(path)
        if len(calls) == 4:
            raise OSError(28, "No space left on device", str(path))
        put(path, content)

    monkeypatch.setattr(module, "_put", failing)
    with pytest.raises(AttachError, match=r"No space left.*Nothing was changed"):
        plan_attach(epymarl).carry_out()
    assert tree_hash(epymarl) == before


def test_an_upgrade_updates_what_it_added(epymarl):
    attach(epymarl)
    record = Manifest.read(epymarl)
    gone = "src/config/algs/lmac_qmix.yaml"
    old = b"name: older\n"
    (epymarl / gone).write_bytes(old)
    from dataclasses import replace

    from epymarl_lmac.plugin.manifest import digest

    changed = replace(record, version="0.0.1", files={**record.files, gone: digest(old)})
    (epymarl / FILE).write_bytes(changed.content())
    assert f"~ {gone}" in [str(change) for change in plan_attach(epymarl).changes]
    attach(epymarl)
    assert Manifest.read(epymarl) == record


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("head", ["", '"""Text."""\n', '"""Text\nmore."""\nfrom __future__ import annotations\n'])
def test_the_line_goes_before_the_first_statement(head, newline):
    source = (head + "import os\n").replace("\n", newline).encode()
    with_line = with_entry_line(source).decode()
    assert with_line.replace(ENTRY_LINE + newline, "") == source.decode()
    assert with_line.index(ENTRY_LINE) == len(head.replace("\n", newline))


def test_algorithm_files_carry_our_learning_defaults_and_not_the_runners(host):
    attach(host)
    values = yaml.safe_load((host / "src/config/algs/lmac_qmix.yaml").read_text())
    assert values["buffer_size"] == 5000  # the host's own default is 32
    assert values["mixing_embed_dim"] == 32
    width = "rnn_hidden_dim" if "pymarl2" in Manifest.read(host).kind else "hidden_dim"
    assert values[width] == 64
    assert not {"runner", "batch_size_run", "updates_per_episode", "t_max", "seed"} & set(values)
    assert values["epsilon_anneal_time"] is None  # lookout sets it, and an algorithm's file would win
    lookout = yaml.safe_load((host / "src/config/envs/lookout.yaml").read_text())
    assert lookout["environment_settings"]["epsilon_anneal_time"] == 10000
    assert lookout["env_args"]["map_name"] == "lookout"


def test_algorithm_files_are_flat_and_leave_the_environments_settings_to_them(host):
    attach(host)
    for name in ("lmac_qmix", "qmix_state", "iql"):
        values = yaml.safe_load((host / f"src/config/algs/{name}.yaml").read_text())
        assert values["target_update_interval_or_tau"] is None, name  # lookout says 50, these algorithms nothing
        assert not {"base", "presets", "tasks", "preset", "task", "config", "env_config"} & set(values), name
    values = yaml.safe_load((host / "src/config/algs/lmac_qmix.yaml").read_text())
    assert (values["comm_dropout"], values["comm"]) == (0.1, "lmac")
    lookout = yaml.safe_load((host / "src/config/envs/lookout.yaml").read_text())
    assert lookout["environment_settings"]["target_update_interval_or_tau"] == 50
    assert "tasks" not in yaml.safe_load((host / "src/config/envs/lbf.yaml").read_text())


def test_presets_are_files_of_their_own_and_what_an_algorithm_states_is_in_its_file(host, tmp_path, monkeypatch):
    configs = tmp_path / "config"
    shutil.copytree(config_root(), configs)
    (configs / "algs/m.yaml").write_text(
        "base: vdn\ntarget_update_interval_or_tau: 7\npresets: {official: {lr: 0.25, comm: lmac}}\n"
    )
    monkeypatch.setattr("epymarl_lmac.settings.files.config_root", lambda: configs)
    attach(host)
    plain, official = (
        yaml.safe_load((host / f"src/config/algs/{name}.yaml").read_text()) for name in ("m", "m-official")
    )
    assert (plain["mixer"], plain["target_update_interval_or_tau"], plain["lr"]) == ("vdn", 7, 0.0005)
    assert (official["mixer"], official["target_update_interval_or_tau"], official["lr"]) == ("vdn", 7, 0.25)
    assert official["recon_lambda"] == 1.0 and "recon_lambda" not in plain
    assert (plain["name"], official["name"]) == ("m", "m-official")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config/default.yaml", "a: [1\nb: 2", "default.yaml cannot be read: .*line 2"),
        ("config/default.yaml", "- a\n- b", "default.yaml must hold names and values, and is a list"),
        ("config/default.yaml", b"\xff\xfe", "default.yaml cannot be read"),
        ("runners/episode_runner.py", "def (", "episode_runner.py cannot be read"),
        ("learners/__init__.py", "REGISTRY = {", r"__init__.py cannot be read"),
    ],
)
def test_a_host_whose_files_do_not_parse_is_one_message(epymarl, name, content, message):
    path = epymarl / "src" / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(AttachError, match=message):
        plan_attach(epymarl)
