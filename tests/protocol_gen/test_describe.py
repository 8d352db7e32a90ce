"""Prompts and task cards."""

import dataclasses
import math
import re
import string
from pathlib import Path

import numpy as np
import pytest
import yaml

from epymarl_lmac.awareness.measure import RENAMED, Recovery
from epymarl_lmac.errors import TaskError
from epymarl_lmac.settings.load import merge
from epymarl_lmac.tasks import task_card
from protocol_gen import describe
from protocol_gen.forecast import forecast, printed_prompts, prompts
from protocol_gen.ledger import read_prices
from protocol_gen.options import Options
from protocol_gen.score import score_of

CASES = {"lookout": [], "lbf": ["env_args.players=3"]}


@pytest.fixture
def card():
    return task_card("lookout", merge("qmix", "lookout")["env_args"])


def written(card, path, **changes) -> Path:
    """Writes a card as a user would."""
    values = card.as_dict()
    values["actions"] = list(card.actions)
    for key in ("state", "obs"):
        values[key] = [{k: v for k, v in d.items() if k != "index"} for d in values[key]]
    path.write_text(yaml.safe_dump({**values, **changes}))
    return path


def test_every_prompt_file_has_a_version_and_is_used():
    files = {path.stem for path in describe.FOLDER.glob("*.md")}
    assert files == set(describe.NAMES) and all(v >= 1 for v in describe.versions().values())


@pytest.mark.parametrize("name", describe.NAMES)
def test_a_placeholder_without_a_value_is_an_error(name):
    names = {m.group("named") for m in string.Template.pattern.finditer(describe.load_prompt(name)[0])}
    if names:
        with pytest.raises(KeyError):
            describe.fill(name)
    text = describe.fill(name, **{n: "WORD" for n in names})
    assert "$" not in text and (not names or "WORD" in text)


@pytest.mark.parametrize("env", CASES)
def test_all_prompts_can_be_printed_without_a_designer(env):
    options = Options(env, CASES[env])
    shown = printed_prompts(options)
    assert set(re.findall(r"^===== (\S+) =====$", shown, re.MULTILINE)) == {"system", *prompts(options)}
    card = task_card(env, merge("lmac_qmix", env, CASES[env])["env_args"])
    for dim in (*card.state, *card.x_dims()):
        assert dim.low == dim.high or f"{dim.index}: {dim.name} - " in shown


def test_the_forecast_grows_with_candidates_and_attempts():
    one = forecast(Options("lookout", []), "gpt-4.1", read_prices(None))
    assert "| all | 6 |" in one and "| 60 |" in one and re.search(r"gpt-4.1: 0\.\d\d USD", one)
    two = forecast(Options("lookout", [], candidates=3, max_attempts=2, important="target*"), "mine", read_prices(None))
    assert "| all | 11 |" in two and "| 22 |" in two and "mine: no price known" in two


def test_a_card_of_the_users_own_is_read(card, tmp_path):
    read = describe.card_from_yaml(written(card, tmp_path / "card.yaml"))
    assert read == card and read.hash() == card.hash()


def test_a_card_that_lacks_something_is_refused(card, tmp_path):
    path = written(card, tmp_path / "card.yaml")
    values = yaml.safe_load(path.read_text())
    del values["goal"]
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(TaskError, match=r"must have the keys.*goal"):
        describe.card_from_yaml(path)
    with pytest.raises(TaskError, match="name, meaning, low, high, unit"):
        describe.card_from_yaml(written(card, path, state=[{"name": "a"}]))


def test_a_card_that_does_not_match_is_refused_with_the_first_difference(card):
    info = {"n_agents": 3, "n_actions": 4, "obs_shape": 5, "state_shape": 7, "episode_limit": 2}
    describe.check_card(card, info)
    with pytest.raises(TaskError, match="obs_shape is 6, the card says 5"):
        describe.check_card(card, {**info, "obs_shape": 6, "state_shape": 9})
    obs, state = np.zeros((4, 3, 5)), np.zeros((4, 7))
    describe.check_card_values(card, obs, state)
    state[2, 3] = 2.0
    with pytest.raises(TaskError, match=r"state\[3\] 'target\[3\]' lies between 0 and 2, the card says 0 to 1"):
        describe.check_card_values(card, obs, state)
    with pytest.raises(TaskError, match="obs has 4 columns, the card says 5"):
        describe.check_card_values(card, obs[..., :4], state)


def recovery(success, r2):
    success, r2 = np.asarray(success, dtype=float), np.asarray(r2, dtype=float)
    quintiles = np.stack([success] * 2 + [np.full_like(success, np.nan)] + [success] * 2)
    figures = {"success": success.mean(), "r2": np.nanmean(r2), "imbalance": success.var(0).mean()}
    spreads = dict.fromkeys(("success_spread", "r2_spread", "imbalance_spread"), 0.01)
    tables = {"success_NI": success.tolist(), "r2_NI": r2.tolist(), "success_QNI": quintiles.tolist()}
    more = {"success_TN": [], "imbalance_I": success.var(0).tolist(), "success_by_seed": [], "r2_by_seed": []}
    recall = {"recall": 0.4, "recall_spread": 0.02, "recall_imbalance": 0.01}
    groups = {"r2_by_group": {"a": 0.5, "b": 0.1}, "recall_by_group": {"a": 0.6, "b": 0.2}}
    groups |= recall | {"converged": False, "n_unconverged": 2}
    return Recovery(**figures, **spreads, **tables, **more, **groups)


def test_tables_show_the_least_known_and_the_most_uneven_first():
    r = recovery([[0.9, 0.2, 0.5], [0.9, 0.4, 1.0]], [[0.9, 0.0, 0.3], [0.9, 0.1, 0.2]])
    table = describe.recovery_table(["a[0]", "a[1]", "b"], {"k = 0": r})
    assert "2 decoders had not converged" in table
    rows = [line.split(" | ")[0] for line in table.splitlines() if " | " in line]
    assert rows == ["a[1]", "b", "a[0]"]
    assert "b | k = 0 | success 0.50 1.00 | R2 0.30 0.20" in table
    uneven = describe.imbalance_table(["a[0]", "a[1]", "b"], r)
    rows = list(dict.fromkeys(line.split(" | ")[0] for line in uneven.splitlines() if " | " in line))
    assert rows == ["b", "a[1]", "a[0]"] and "| mid |" not in uneven


def test_scores_choose_by_the_metric_that_was_asked_for():
    r = recovery([[0.8, 0.4]], [[0.2, 0.6]])
    assert [score_of(r, m) for m in ("success", "r2", "both")] == pytest.approx([0.6, 0.4, 0.5])
    unvarying = dataclasses.replace(r, r2=math.nan, r2_NI=[[math.nan, math.nan]])
    assert score_of(unvarying, "both") == pytest.approx(0.6)


def test_a_metrics_old_name_still_chooses_and_is_named():
    options = Options("lookout", [], sai_metric="skill")
    with pytest.warns(FutureWarning, match="now called r2"):
        options.check()
    assert options.sai_metric == "r2"


def test_a_recovery_of_an_older_record_is_read():
    new = recovery([[0.5, 0.7]], [[0.1, 0.2]])
    values = new.as_dict()
    old = {name: key for key, name in RENAMED.items()}
    assert Recovery.from_dict({old.get(k, k): v for k, v in values.items()}) == Recovery.from_dict(values)
