"""Scores that choose and confirm: their spread, their missing values, and messages that are no numbers."""

import dataclasses
import math

import numpy as np
import pytest
from chat_server import ChatServer, Turn
from designs import SELECTION, TEXTS, design, fenced, openai_designer, options, protocol

from epymarl_lmac.awareness.inputs import Episodes
from epymarl_lmac.awareness.measure import Budget
from epymarl_lmac.errors import ProtocolRejected
from epymarl_lmac.learning.extended_obs import XLayout
from epymarl_lmac.protocol import ProtocolSpec, build_program
from protocol_gen import pipeline
from protocol_gen.asking import DesignStopped
from protocol_gen.ledger import read_json
from protocol_gen.score import Data, Measured, check_messages, gain_of, measure_programs, score_of, spread_of
from protocol_gen.trajectories import read as read_trajectories


def lookout_data(buffer):
    train, heldout, _ = read_trajectories(buffer)
    return Data(train, heldout, XLayout(4, True, True), [0, 1], ["target[0]", "target[1]"])


@pytest.fixture(scope="module")
def measured(buffer):
    return measure_programs(lookout_data(buffer), [], Budget(2, 3), 0.05).choosing


def with_seeds(recovery, success, r2):
    means = {"success": float(np.mean(success)), "r2": float(np.mean(r2))}
    return dataclasses.replace(recovery, success_by_seed=list(success), r2_by_seed=list(r2), **means)


def test_spreads_are_those_of_samples(measured):
    assert measured.success_spread == pytest.approx(np.std(measured.success_by_seed, ddof=1), abs=1e-6)
    assert measured.r2_spread == pytest.approx(np.std(measured.r2_by_seed, ddof=1))


def test_one_seed_has_no_spread(measured):
    assert spread_of(with_seeds(measured, [0.4], [0.6]), "both") == 0.0


def test_the_spread_of_a_combined_score_is_that_of_every_seeds_own(measured):
    against = with_seeds(measured, [0.2, 0.4, 0.6], [0.6, 0.4, 0.2])  # success and R2 balance in every seed
    assert spread_of(against, "both") == pytest.approx(0.0) and spread_of(against, "r2") == pytest.approx(0.2)
    along = with_seeds(measured, [0.2, 0.4, 0.6], [0.2, 0.4, 0.6])
    assert spread_of(along, "both") == pytest.approx(0.2)
    assert gain_of(along, against, "both") == pytest.approx((0.0, 0.2 / math.sqrt(3)))


def test_success_stands_alone_only_where_no_column_varies(measured):
    missing = with_seeds(measured, [0.5] * 3, [math.nan] * 3)
    assert max(measured.variance_I) > 0 and math.isnan(score_of(missing, "both"))
    constant = dataclasses.replace(missing, variance_I=[0.0, 0.0])
    assert score_of(constant, "both") == 0.5 and spread_of(constant, "both") == 0.0


@pytest.mark.parametrize(("group", "episode"), [("train", 37), ("heldout", 31)])
def test_messages_must_be_finite_on_every_recorded_episode(buffer, group, episode):
    data = lookout_data(buffer)
    text = protocol("return th.cat([o, 1.0 / (o[..., :1] - 7.25)], -1)")
    program = build_program(text, ProtocolSpec(3, data.x_dim, None))
    check_messages(data, program)
    episodes: Episodes = getattr(data, group)
    obs = episodes.obs_BTNO.clone()
    obs[episode, 1, 2, 0] = 7.25
    spoilt = dataclasses.replace(data, **{group: dataclasses.replace(episodes, obs_BTNO=obs)})
    with pytest.raises(ProtocolRejected, match=rf"column 0 of what agent 2 hears at step 1 of .* episode {episode};"):
        check_messages(spoilt, program)


def test_a_design_refuses_messages_that_are_not_finite_on_some_recorded_episode(buffer, builder, tmp_path, monkeypatch):
    refused = []

    def check(data, program):
        if not refused:
            refused.append(len(data.train) + len(data.heldout))
            raise ProtocolRejected("contract", "a message is not finite")

    monkeypatch.setattr(pipeline, "check_messages", check)
    with ChatServer([Turn(SELECTION), *[Turn(fenced(TEXTS[0]))] * 2]) as server:
        made = design(options(buffer, tmp_path, max_attempts=2), tmp_path, openai_designer(server), builder)
        with pytest.raises(Exception, match="the script is over"):
            made.run()
        assert "a message is not finite" in server.requests[2]["messages"][-1]["content"]
    assert refused == [96]


def test_a_score_that_is_no_number_never_wins(buffer, builder, tmp_path, monkeypatch):
    real = pipeline.measure_programs

    def measure(data, programs, budget, tolerance, n_processes):
        found = real(data, [], budget, tolerance)
        if [p.message_dim for p in programs] == [1]:
            return Measured(*(with_seeds(r, [0.9] * 3, [math.nan] * 3) for r in found))
        return Measured(*(with_seeds(r, [0.3] * 3, [0.3] * 3) for r in found))

    monkeypatch.setattr(pipeline, "measure_programs", measure)
    silent = protocol("return th.cat([o, o[..., :1] * 0.0], -1)")
    with ChatServer([Turn(SELECTION), Turn(fenced(silent)), Turn(fenced(TEXTS[0]))]) as server:
        made = design(options(buffer, tmp_path, candidates=2), tmp_path, openai_designer(server), builder)
        with pytest.raises(Exception, match="the script is over"):
            made.run()
    chosen = read_json(made.work / "k0" / "chosen.json")
    assert chosen["candidate"] == 2 and "not a number" in chosen["candidates"][0]["stopped"]


def test_a_design_without_any_score_stops_before_it_asks(buffer, builder, tmp_path, monkeypatch):
    real = pipeline.measure_programs

    def measure(*words):
        return Measured(*(with_seeds(r, [0.9] * 3, [math.nan] * 3) for r in real(*words)))

    monkeypatch.setattr(pipeline, "measure_programs", measure)
    with ChatServer([Turn(SELECTION)]) as server:
        with pytest.raises(DesignStopped, match=r"not a number.*--sai-metric success"):
            design(options(buffer, tmp_path), tmp_path, openai_designer(server), builder).run()
        assert len(server.requests) == 1
