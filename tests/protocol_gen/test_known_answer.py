"""Measurements whose result is known: two targets, and only agent 0 of four sees which one is right."""

import numpy as np
import pytest
import torch
from designs import protocol

from epymarl_lmac.awareness.measure import Budget, has_settled
from epymarl_lmac.learning.extended_obs import XLayout
from epymarl_lmac.protocol import ProtocolSpec
from epymarl_lmac.settings.load import merge
from epymarl_lmac.tasks import task_card
from protocol_gen.collect import collect
from protocol_gen.flow_data import profile
from protocol_gen.score import Data, measure_programs
from protocol_gen.trajectories import read

SPEC = ProtocolSpec(4, 2 + 1 + 2 + 4, None)
EVERYONE = protocol("seen = o[..., :2].sum(1, keepdim=True)\nreturn th.cat([o, seen.expand(-1, 4, 2)], -1)")
ONE = protocol(
    "seen = o[..., :2].sum(1, keepdim=True)\nonly = th.tensor([0.0, 1.0, 0.0, 0.0]).reshape(1, 4, 1)\n"
    "return th.cat([o, seen * only], -1)"
)
# Changes at every step and differs between agents, but depends on the receiver's own view and last action alone.
NOISE = protocol("return th.cat([o, th.sin(37.0 * (o.cumsum(-1) + 1.3))], -1)")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    words = ["env_args.players=4", "env_args.targets=2"]
    card = task_card("lookout", merge("qmix", "lookout", words)["env_args"])
    path = tmp_path_factory.mktemp("known") / "t.h5"
    collect(path, card, "lookout", words, n_episodes=128, n_heldout=64, t_max=10)
    torch.set_num_threads(1)
    train, heldout, _ = read(path)
    return Data(train, heldout, XLayout(2), [0, 1], ["target[0]", "target[1]"])


def measured(data, builder, *texts, **changes):
    budget = Budget(**{"n_batches": 60, "n_seeds": 3, "lr": 3e-3, "steps_per_batch": 3, **changes})
    return measure_programs(data, [builder(text, SPEC) for text in texts], budget, 0.05).confirming


def test_a_perfect_protocol_recovers_everything_for_every_agent(data, builder):
    r = measured(data, builder, EVERYONE)
    assert r.success == 1.0 and np.asarray(r.success_NI).min() == 1.0 and r.imbalance == 0.0
    assert r.r2 > 0.97


def test_an_empty_protocol_scores_chance_and_telling_one_agent_shows_exactly_that_imbalance(data, builder):
    # A guess of 1/2 is always off by 1/4, beyond the tolerance: chance is 0. The scout itself knows.
    none = measured(data, builder)
    assert none.success_NI == [[1.0, 1.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]
    assert none.imbalance == pytest.approx(3 / 16) and none.success == pytest.approx(1 / 4)
    one = measured(data, builder, ONE)
    assert one.success_NI == [[1.0, 1.0], [1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]
    assert one.imbalance == pytest.approx(1 / 4) and one.success == pytest.approx(1 / 2)
    assert np.nanmax(np.asarray(one.r2_NI)[2:]) < 0.1 and np.asarray(one.r2_NI)[:2].min() > 0.9
    noise = measured(data, builder, NOISE)
    assert noise.r2 <= none.r2 + none.r2_spread + noise.r2_spread
    assert noise.success <= none.success + none.success_spread + noise.success_spread


def test_seeds_trained_side_by_side_give_the_same_figures(data, builder):
    programs = [builder(ONE, SPEC)]
    budget = Budget(20, 3)
    one, two = (measure_programs(data, programs, budget, 0.05, n).as_dict() for n in (1, 2))
    assert one == two


def test_a_decoder_that_still_learns_is_flagged():
    falling = [1 - 0.005 * i for i in range(100)]
    flat = [0.5 + 0.01 * (-1) ** i for i in range(100)]
    tiny = [1e-3 * 0.99**i for i in range(100)]  # falls by a third at the end, which is nothing beside the variance
    assert [has_settled(losses, 1.0) for losses in (falling, flat, tiny)] == [False, True, True]
    assert not has_settled(tiny, 1e-3)


def test_decoders_never_see_held_out_episodes(data, builder, monkeypatch):
    seen = []
    real = type(data.train).__getitem__

    def noting(self, index):
        seen.append((self is data.heldout, torch.is_grad_enabled(), len(real(self, index))))
        return real(self, index)

    from protocol_gen import score

    trained = []
    real_train = score.train_decoder

    def train(sample, *rest):
        before = len(seen)
        found = real_train(sample, *rest)
        trained.extend(seen[before:])
        return found

    monkeypatch.setattr(type(data.train), "__getitem__", noting)
    monkeypatch.setattr(score, "train_decoder", train)
    measured(data, builder, n_batches=2)
    assert len(trained) == 6 and not any(heldout for heldout, *_ in trained)
    assert sum(n for heldout, _, n in seen if heldout) == 64


def test_the_profile_says_who_tells_whom_and_what_is_waste(data, builder):
    found = profile([builder(ONE, SPEC)], data.train[:32], data.layout)
    # Two columns of receiver 1: what is seen, from whoever has the flag of the scout.
    assert found["influence"] == [[[0, 2, 0, 0]] * 4]
    assert found["columns"] == [2] and found["constant"] == []
    assert found["bits_per_step"] == [2 * 1 * 3]  # two columns of one bit, from each of three others
    waste = protocol("return th.cat([o, o[..., :1], o[..., :1] * 0.0 + 3.0, o[..., :1]], -1)")
    found = profile([builder(waste, SPEC)], data.train[:32], data.layout)
    assert found["constant"] == ["k0[1]"]
    assert found["duplicate"] == [{"column": "k0[2]", "of": "k0[0]"}]
    assert found["already_known"] == [{"column": "k0[0]", "x": 0}, {"column": "k0[2]", "x": 0}]
