"""Recovery tables with known answers."""

import json
import math

import numpy as np
import pytest
import torch

from epymarl_lmac.awareness.decoder import FORMS, AuxiliaryDecoder
from epymarl_lmac.awareness.measure import Budget, Recovery, Rows, evaluate, step_and_quintile, train_decoder

N, K, EPISODES, STEPS = 4, 3, 64, 2
GROUPS = {"target": list(range(K))}


def rows(hears, seed):
    """Returns lookout-like rows: the state is a one-hot target; agents whose flag is set hear it."""
    g = torch.Generator().manual_seed(seed)
    target = torch.eye(K)[torch.randint(0, K, (EPISODES,), generator=g)]
    ids = torch.eye(N).expand(EPISODES, N, N)
    message = target.unsqueeze(1) * torch.tensor(hears).float().view(1, N, 1)
    u = torch.cat([ids, message], -1).repeat(STEPS, 1, 1)
    return Rows(u, target.repeat(STEPS, 1), [EPISODES] * STEPS)


def measured(hears, seeds=1, form="direct"):
    torch.set_num_threads(1)
    budget = Budget(n_batches=400, n_seeds=seeds, lr=3e-3, form=form)
    number = iter(range(10_000))
    decoders = [train_decoder(lambda: rows(hears, next(number)), K, budget, seed) for seed in range(seeds)]
    return evaluate(decoders, rows(hears, 99_999), 0.05, GROUPS)


@pytest.mark.parametrize("form", FORMS)
def test_a_perfect_protocol_recovers_everything_for_everyone(form):
    result = measured([1, 1, 1, 1], form=form)
    assert result.success == 1.0 and result.imbalance == 0.0 and result.r2 > 0.98
    assert result.recall == 1.0 and result.recall_imbalance == 0.0


@pytest.mark.parametrize("form", FORMS)
def test_an_empty_protocol_scores_chance(form):
    result = measured([0, 0, 0, 0], form=form)
    # The best constant is 1/K: its squared error is 1/K^2 = 0.11 where the column is 0, well beyond the tolerance.
    assert abs(result.r2) < 0.1
    assert result.success == 0.0
    assert result.recall == 0.0  # the column that is 1 is missed by every constant


def test_telling_one_agent_shows_exactly_the_imbalance_between_one_and_none():
    result = measured([0, 1, 0, 0])
    assert result.success_NI == [[0.0] * K, [1.0] * K, [0.0] * K, [0.0] * K]
    assert result.imbalance == pytest.approx(3 / 16)  # variance of one 1 among four
    assert result.recall == pytest.approx(1 / 4)  # one of four agents, each time
    assert result.recall_by_group == pytest.approx(dict.fromkeys(GROUPS, 1 / 4))
    assert result.recall_imbalance == pytest.approx(3 / 16)


def test_a_map_that_is_wider_than_the_narrow_layer_is_read_by_the_direct_form_alone():
    cells, rng = 64, torch.Generator().manual_seed(0)

    def sample() -> Rows:
        field = (torch.rand(256, cells, generator=rng) < 0.1).float()
        return Rows(field.unsqueeze(1), field, [256])

    r2 = {}
    for form in FORMS:
        decoder = train_decoder(sample, cells, Budget(400, 1, 3e-3, form=form), 0)
        r2[form] = evaluate([decoder], sample(), 0.05, {"cell": list(range(cells))}).r2
    assert r2["direct"] > 0.98
    assert r2["published"] < 0.5


def test_an_unknown_form_is_refused():
    with pytest.raises(ValueError, match="'narrow' must be one of"):
        AuxiliaryDecoder(4, 2, form="narrow")


def test_columns_that_never_vary_have_no_r2():
    data = rows([1, 1, 1, 1], 1)
    constant = Rows(data.u_PNU, torch.zeros(len(data.truth_PI), K), data.counts)
    decoder = train_decoder(lambda: constant, K, Budget(5, 1), 0)
    found = evaluate([decoder], constant, 0.05, GROUPS)
    assert math.isnan(found.r2) and math.isnan(found.recall)


def test_steps_and_quintiles_are_counted_in_each_episode():
    step, quintile = step_and_quintile([2, 2, 1, 1, 1])  # episodes of 5 and 2 stored steps
    assert step.tolist() == [0, 0, 1, 1, 2, 3, 4]
    assert quintile.tolist() == [0, 0, 1, 2, 2, 3, 4]


def test_pieces_of_the_held_out_episodes_give_what_the_whole_gives():
    decoders = [train_decoder(lambda: rows([1, 0, 1, 1], 3), K, Budget(5, 1), 0)]
    whole = [rows([1, 0, 1, 1], 11), rows([1, 0, 1, 1], 12)]
    joined = Rows(
        *(torch.cat([p[i].view(STEPS, EPISODES, *p[i].shape[1:]) for p in whole], 1).flatten(0, 1) for i in (0, 1)),
        [2 * EPISODES] * STEPS,
    )
    in_pieces, at_once = evaluate(decoders, whole, 0.05, GROUPS), evaluate(decoders, joined, 0.05, GROUPS)
    assert in_pieces.success == pytest.approx(at_once.success) and in_pieces.r2 == pytest.approx(at_once.r2)
    assert in_pieces.success_TN == pytest.approx(np.asarray(at_once.success_TN))


def test_a_recovery_survives_json():
    found = measured([1, 0, 1, 1])
    again = Recovery.from_dict(json.loads(json.dumps(found.as_dict())))
    assert again.as_dict() == found.as_dict() and again.converged == found.converged
    assert again.success == pytest.approx(found.success, abs=1e-6)
