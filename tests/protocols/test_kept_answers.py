"""The designs that are kept under docs/protocols: their answers give the shipped bundles, and their pages show them."""

from __future__ import annotations

import hashlib
from html import escape

import pytest
import yaml
from shipped import LBF, SC2_MAPS, TASKS

from epymarl_lmac.paths import protocols_root
from epymarl_lmac.settings.command_line import split_argv
from epymarl_lmac.settings.load import merge
from epymarl_lmac.tasks import task_card
from protocol_gen.answers import code_of
from protocol_gen.asking import read_critique, read_selection
from protocol_gen.collect import TRAINING_SHARE
from protocol_gen.command import parser
from protocol_gen.designers import ReplayDesigner
from protocol_gen.score import BATCH_EPISODES

DOCS = protocols_root().parent / "docs" / "protocols"
SC2 = [f"sc2/{name}" for name in SC2_MAPS]
DEFAULTS = [*LBF, *SC2]
DESIGNS = [*((name, "default") for name in DEFAULTS), *((name, "forwarding") for name in LBF)]


def manifest_of(name, which="default"):
    return yaml.safe_load((protocols_root() / name / which / "manifest.yaml").read_text(encoding="utf-8"))


def page_folder(name, which):
    """Returns where a design's page and answers are kept; a default design's stand first."""
    return DOCS / name if which == "default" else DOCS / name / which


def answer(name, which, key):
    """Returns what ``--replay`` answers to a call."""
    folder = page_folder(name, which) / "answers"
    return ReplayDesigner(folder).answer(key, [], folder)


def text_of(name, which, k):
    return (protocols_root() / name / which / f"k{k}.py").read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "which"), DESIGNS)
def test_kept_answers_hold_the_texts_of_the_shipped_bundle(name, which):
    manifest = manifest_of(name, which)
    outcomes = dict(enumerate(manifest["notes"]["steps"]))
    for k in manifest.get("steps", [0, 1, 2]):
        key = f"k{k}/c{outcomes[k]['candidate']}/a{outcomes[k]['attempts']}"
        assert code_of(answer(name, which, key).text) == text_of(name, which, k)


@pytest.mark.parametrize(("name", "which"), DESIGNS)
def test_the_kept_selection_names_the_bundles_state_columns(name, which):
    env, updates = TASKS[name]
    card = task_card(env, merge("lmac_qmix", env, updates)["env_args"])
    chosen = read_selection(card, answer(name, which, "select/a1"))["important"]
    assert chosen == manifest_of(name, which)["important_state"]


@pytest.mark.parametrize(("name", "which"), DESIGNS)
def test_the_manifest_names_the_kept_answers_by_their_hashes(name, which):
    calls = {call["key"]: call["reply_sha256"] for call in manifest_of(name, which)["notes"]["calls"]}
    kept = {key: hashlib.sha256(answer(name, which, key).text.encode()).hexdigest() for key in calls}
    assert kept == calls
    files = {path.stem for path in (page_folder(name, which) / "answers").glob("*.md")}
    assert files == {key.replace("/", "-") for key in calls}
    for k in (1, 2):
        assert all(read_critique(answer(name, which, f"k{k}/analyst/a1")).values())


@pytest.mark.parametrize(("name", "which"), DESIGNS)
def test_the_page_shows_the_texts_and_scores_of_the_shipped_bundle(name, which):
    page, manifest = (page_folder(name, which) / "index.html").read_text(encoding="utf-8"), manifest_of(name, which)
    for k in manifest.get("steps", [0, 1, 2]):
        assert f"<pre id='text-{k}'>{escape(text_of(name, which, k))}</pre>" in page
    for kind, score in manifest["scores"].items():
        if kind == "no messages" or kind.startswith("k = "):
            assert f'data-row="{kind}" data-column="success">{score["success"]:.3f}</td>' in page


@pytest.mark.parametrize("name", DEFAULTS)
def test_the_documented_command_has_the_options_that_the_manifest_names(name):
    lines = (DOCS / "README.md").read_text(encoding="utf-8").splitlines()
    [command] = [line for line in lines if f"--replay docs/protocols/{name}/answers" in line]
    flags, updates = split_argv(command.split()[3:])  # after python -m protocol_gen
    options, manifest = parser().parse_args(flags), manifest_of(name)
    conditions = manifest["scores"]["conditions"]
    assert options.history == manifest["history"]
    assert (options.episodes, options.heldout) == (conditions["episodes"], conditions["heldout_episodes"])
    train_steps = options.train_steps or int(TRAINING_SHARE * merge("qmix", options.env_config)["t_max"])
    assert conditions["behaviour"] == f"QMIX learning over {train_steps} steps"
    for key in ("decoder_batches", "steps_per_batch", "decoder_lr", "decoder_seeds", "decoder_form", "tolerance"):
        assert getattr(options, key) == conditions[key], key
    assert options.batch_episodes == conditions.get("batch_episodes", BATCH_EPISODES)
    assert updates == [*TASKS[name][1], *(["env_args.engine=embedded"] if name in SC2 else [])]


@pytest.mark.parametrize("name", SC2)
def test_the_page_of_a_battle_design_is_below_a_megabyte_and_a_half(name):
    assert (DOCS / name / "index.html").stat().st_size < 1.5e6


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_step_of_a_designed_bundle_gained_something_confirmed(name):
    manifest = manifest_of(name)
    outcomes = {outcome["k"]: outcome for outcome in manifest["notes"]["steps"]}
    assert set(outcomes) == {0, 1, 2}
    assert manifest["steps"] == [k for k, outcome in outcomes.items() if outcome["confirmed"]]
