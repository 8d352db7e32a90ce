"""Packing lists exactly the existing steps, in an order that makes running episodes a prefix."""

import torch

from epymarl_lmac.learning.packing import Packing

B, T = 4, 5
LENGTHS = [2, 5, 1, 4]  # stored steps of each episode, the last one only bootstraps
FILLED = torch.tensor([[int(t < n) for t in range(T)] for n in LENGTHS])
VALUE = torch.arange(B * T * 3).view(B, T, 3)


def test_rows_are_step_by_step_with_the_longest_episode_first():
    packing = Packing.of(FILLED)
    where = [(int(r) // T, int(r) % T) for r in packing.rows_P]
    assert packing.counts == [4, 3, 2, 2, 1]
    assert where == [
        (1, 0),
        (3, 0),
        (0, 0),
        (2, 0),
        (1, 1),
        (3, 1),
        (0, 1),
        (1, 2),
        (3, 2),
        (1, 3),
        (3, 3),
        (1, 4),
    ]


def test_packing_and_padding_are_inverse_on_existing_steps():
    packing = Packing.of(FILLED)
    assert torch.equal(packing.pad(packing.pack(VALUE)), VALUE * FILLED.unsqueeze(-1))


def test_transitions_join_a_step_with_its_successor():
    packing = Packing.of(FILLED)
    rows = packing.pack(VALUE)
    assert len(packing.now_V) == sum(n - 1 for n in LENGTHS)
    assert torch.equal(rows[packing.next_V], rows[packing.now_V] + 3)  # the next step's values are 3 larger


def test_history_lists_the_last_steps_and_marks_those_before_the_start():
    packing = Packing.of(FILLED)
    index = packing.history(3)
    rows = torch.cat([packing.pack(VALUE[..., 0]), torch.tensor([-1])])
    for p, row in enumerate(packing.rows_P.tolist()):
        b, t = divmod(row, T)
        expected = [int(VALUE[b, s, 0]) if s >= 0 else -1 for s in (t - 2, t - 1, t)]
        assert rows[index[p]].tolist() == expected


def test_equal_lengths_keep_their_order():
    packing = Packing.of(torch.ones(2, 3, dtype=torch.long))
    assert packing.rows_P.tolist() == [0, 3, 1, 4, 2, 5]


def test_ahead_is_the_row_of_a_later_step_of_the_same_episode():
    packing = Packing.of(FILLED)
    rows = torch.cat([packing.pack(VALUE[..., 0]), torch.tensor([-1])])
    for k in range(4):
        ahead = packing.ahead(k)
        for p, row in enumerate(packing.rows_P.tolist()):
            b, t = divmod(row, T)
            assert rows[ahead[p]] == (VALUE[b, t + k, 0] if t + k < LENGTHS[b] else -1)
