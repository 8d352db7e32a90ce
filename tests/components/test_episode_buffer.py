"""Episode batches and the replay buffer: layout, indexing, what is derived, what is refused."""

from typing import Any

import numpy as np
import pytest
import torch

from components.episode_buffer import EpisodeBatch, ReplayBuffer
from components.transforms import OneHot
from epymarl_lmac.errors import CheckpointError
from epymarl_lmac.learning.batches import BatchRequest

B, T, N, A, O, S = 3, 4, 2, 5, 6, 7
SCHEME: dict[str, dict[str, Any]] = {
    "state": {"vshape": S},
    "obs": {"vshape": (O,), "group": "agents"},
    "actions": {"vshape": (1,), "group": "agents", "dtype": torch.long},
    "reward": {"vshape": (1,)},
    "goal": {"vshape": (2,), "episode_const": True},
}
GROUPS = {"agents": N}
PREPROCESS = {"actions": ("actions_onehot", [OneHot(A)])}


def batch_of(size=B, length=T, first=0):
    """A full batch in which every value tells episode, step, agent and column."""
    batch = EpisodeBatch(SCHEME, GROUPS, size, length, preprocess=PREPROCESS)

    def values(*shape):
        return torch.arange(int(np.prod(shape))).view(*shape)

    episode = torch.arange(first, first + size)
    steps = episode.view(-1, 1) * T + torch.arange(length)
    batch.update(
        {
            "state": steps[..., None] * S + values(S),
            "obs": steps[..., None, None] * N * O + values(N, O),
            "actions": (steps[..., None] + values(N)) % A,
            "reward": steps,
            "goal": episode[:, None] * 2 + values(2),
        }
    )
    return batch


def buffer_of(size=4, length=T):
    return ReplayBuffer(SCHEME, GROUPS, size, length, preprocess=PREPROCESS)


def episodes(batch):
    """Numbers of the episodes in a batch."""
    return (batch["goal"][:, 0] / 2).int().tolist()


# -- layout -------------------------------------------------------------------------------------------------


def test_shapes_and_types_follow_the_scheme():
    batch = EpisodeBatch(SCHEME, GROUPS, B, T, preprocess=PREPROCESS)
    expected = {
        "state": ((B, T, S), torch.float32),
        "obs": ((B, T, N, O), torch.float32),
        "actions": ((B, T, N, 1), torch.int64),
        "actions_onehot": ((B, T, N, A), torch.float32),
        "reward": ((B, T, 1), torch.float32),
        "goal": ((B, 2), torch.float32),
        "filled": ((B, T, 1), torch.int64),
    }
    assert {key: (tuple(batch[key].shape), batch[key].dtype) for key in batch.scheme} == expected
    assert not any(batch[key].any() for key in expected)
    assert batch.scheme["actions_onehot"] == {"vshape": (A,), "dtype": torch.float32, "group": "agents"}
    assert "filled" not in SCHEME  # the caller's scheme is not touched


def test_values_keep_their_episode_step_agent_and_column():
    batch = batch_of()
    for b in range(B):
        for t in range(T):
            for n in range(N):
                first = ((b * T + t) * N + n) * O
                assert batch["obs"][b, t, n].tolist() == list(range(first, first + O))


@pytest.mark.parametrize("as_type", [list, np.asarray, torch.as_tensor])
def test_one_step_of_some_episodes_is_written_there_and_nowhere_else(as_type):
    batch = EpisodeBatch(SCHEME, GROUPS, B, T, preprocess=PREPROCESS)
    obs = np.arange(2 * N * O).reshape(2, N, O) + 1.0
    batch.update({"obs": as_type(obs)}, bs=[2, 0], ts=1)
    assert batch["obs"][2, 1].equal(torch.tensor(obs[0]).float())
    assert batch["obs"][0, 1].equal(torch.tensor(obs[1]).float())
    assert batch["obs"].count_nonzero() == 2 * N * O
    assert batch["filled"].nonzero().tolist() == [[0, 1, 0], [2, 1, 0]]


def test_writing_can_leave_filled_alone():
    batch = EpisodeBatch(SCHEME, GROUPS, B, T, preprocess=PREPROCESS)
    batch.update({"reward": [[1.0], [2.0], [3.0]]}, ts=2, mark_filled=False)
    assert batch["reward"][:, 2, 0].tolist() == [1, 2, 3]
    assert not batch["filled"].any()


def test_writing_an_episode_constant_marks_no_step():
    batch = EpisodeBatch(SCHEME, GROUPS, B, T)
    batch.update({"goal": [[7.0, 8.0]]}, bs=1)
    assert batch["goal"].tolist() == [[0, 0], [7, 8], [0, 0]]
    assert not batch["filled"].any()


def test_derived_keys_follow_their_source():
    batch = EpisodeBatch(SCHEME, GROUPS, B, T, preprocess=PREPROCESS)
    batch.update({"actions": torch.tensor([[1, 4], [0, 2]])}, bs=slice(1, 3), ts=3)
    onehot = batch["actions_onehot"]
    assert onehot.nonzero().tolist() == [[1, 3, 0, 1], [1, 3, 1, 4], [2, 3, 0, 0], [2, 3, 1, 2]]
    assert onehot.sum() == 4


def test_a_shape_that_would_mix_agents_and_steps_is_refused():
    batch = EpisodeBatch(SCHEME, GROUPS, B, T)
    with pytest.raises(ValueError, match=r"'obs' has shape \(3, 6, 2\); expected \(3, 1, 2, 6\)"):
        batch.update({"obs": torch.zeros(B, O, N)}, ts=0)


def test_an_unknown_key_is_refused_and_the_known_ones_are_listed():
    batch = EpisodeBatch(SCHEME, GROUPS, B, T)
    with pytest.raises(KeyError, match="it has actions, filled, goal, obs"):
        batch.update({"rewards": torch.zeros(B, 1)}, ts=0)
    with pytest.raises(KeyError, match="'rewards' is not in this batch"):
        batch["rewards"]


@pytest.mark.parametrize(
    ("scheme", "preprocess", "message"),
    [
        ({"filled": {"vshape": 1}}, None, "'filled' is reserved"),
        ({"obs": {}}, None, "'obs' has no 'vshape'"),
        ({"obs": {"vshape": 1, "group": "teams"}}, None, "of group 'teams'; groups has only"),
        ({"obs": {"vshape": 1}}, PREPROCESS, "preprocess key 'actions' is not in the scheme"),
    ],
)
def test_a_scheme_that_cannot_be_laid_out_is_refused(scheme, preprocess, message):
    with pytest.raises(ValueError, match=message):
        EpisodeBatch(scheme, GROUPS, B, T, preprocess=preprocess)


# -- reading ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (1, [1]),
        (-1, [2]),
        (slice(1, 3), [1, 2]),
        ([2, 0], [2, 0]),
        (np.array([0, 2, 2]), [0, 2, 2]),
        (torch.tensor([1, 0]), [1, 0]),
        (np.array([True, False, True]), [0, 2]),
    ],
)
def test_episodes_are_chosen_by_any_index(index, expected):
    batch = batch_of()
    part = batch[index]
    assert episodes(part) == expected
    assert part.batch_size == len(expected)
    assert part.max_seq_length == T
    for key in batch.scheme:
        assert part[key].equal(batch[key][torch.tensor(expected)])


def test_steps_are_chosen_by_an_integer_or_a_slice_and_keep_their_dimension():
    batch = batch_of()
    part = batch[:, 1:3]
    assert (part.batch_size, part.max_seq_length) == (B, 2)
    assert part["obs"].equal(batch["obs"][:, 1:3])
    assert part["goal"].equal(batch["goal"])
    one = batch[[0, 2], -1]
    assert one["state"].equal(batch["state"][[0, 2], 3:4])
    with pytest.raises(IndexError, match="steps must be an integer or a slice, got list"):
        batch[:, [0, 1]]
    with pytest.raises(IndexError, match="step 4 does not exist; there are 4"):
        batch[0, 4]
    with pytest.raises(IndexError, match=r"episodes must be an integer.*got float"):
        batch[1.5]


def test_slices_are_views_and_lists_are_copies():
    batch = batch_of()
    batch[1:]["state"][0] = -1
    assert (batch["state"][1] == -1).all()
    batch[[0]]["state"][0] = -1
    assert not (batch["state"][0] == -1).any()


def test_some_keys_only():
    part = batch_of()["obs", "goal"]
    assert list(part.scheme) == ["obs", "goal"]
    assert part["obs"].equal(batch_of()["obs"])
    assert part.groups == GROUPS
    assert batch_of()[("state",)].groups == {}
    with pytest.raises(KeyError, match="'state' is not in this batch; it has goal, obs"):
        part["state"]


def test_max_t_filled_is_the_longest_episode():
    batch = EpisodeBatch(SCHEME, GROUPS, B, T)
    for t, rows in enumerate([[0, 1, 2], [0, 2], [2]]):
        batch.update({"reward": np.zeros((len(rows), 1))}, bs=rows, ts=t)
    assert batch.max_t_filled() == 3
    assert batch[:2].max_t_filled() == 2


def test_moving_keeps_values_and_reports_the_device():
    batch = EpisodeBatch(SCHEME, GROUPS, B, T)
    assert batch.to("meta") is batch
    assert batch.device == "meta"
    assert {batch[key].device.type for key in batch.scheme} == {"meta"}


# -- replay buffer ------------------------------------------------------------------------------------------


def test_the_oldest_episodes_make_room_for_new_ones():
    buffer = buffer_of(4)
    for first, expected, count in [(0, [0, 1, 2, 0], 3), (3, [4, 5, 2, 3], 4), (6, [8, 5, 6, 7], 4)]:
        batch = batch_of(3, first=first)
        buffer.insert_episode_batch(batch)
        assert episodes(buffer) == expected
        assert buffer.episodes_in_buffer == count
    everything = batch_of(9)[[8, 5, 6, 7]]
    for key in buffer.scheme:
        assert buffer[key].equal(everything[key]), key


def test_a_batch_larger_than_the_buffer_leaves_its_latest_episodes():
    buffer = buffer_of(4)
    buffer.insert_episode_batch(batch_of(10))
    assert sorted(episodes(buffer)) == [6, 7, 8, 9]


def test_nothing_of_an_older_longer_episode_remains():
    buffer = buffer_of(2)
    buffer.insert_episode_batch(batch_of(2))
    buffer.insert_episode_batch(batch_of(1, length=2, first=5))
    assert buffer["filled"][0].squeeze().tolist() == [1, 1, 0, 0]
    for key in ("state", "obs", "actions", "actions_onehot", "reward"):
        assert not buffer[key][0, 2:].any()
        assert buffer[key][1].equal(batch_of(2)[key][1])


def test_episodes_that_are_too_long_are_refused():
    with pytest.raises(ValueError, match="episodes of 5 steps do not fit a buffer of 4 steps"):
        buffer_of().insert_episode_batch(batch_of(1, length=5))


def test_a_sample_has_different_stored_episodes_and_owns_its_memory():
    buffer = buffer_of(8)
    buffer.insert_episode_batch(batch_of(5))
    assert buffer.can_sample(5)
    assert not buffer.can_sample(6)
    rng = np.random.default_rng(0)
    for n in (3, 5):
        sample = buffer.sample(n, rng=rng)
        chosen = episodes(sample)
        assert len(set(chosen)) == n
        assert set(chosen) <= set(range(5))
        for key in buffer.scheme:
            assert sample[key].equal(buffer[key][chosen])
        sample["state"].zero_()
    assert buffer["state"].equal(torch.cat([batch_of(5)["state"], torch.zeros(3, T, S)]))
    with pytest.raises(ValueError, match="cannot sample 6 episodes, only 5 are stored"):
        buffer.sample(6, rng=rng)


def test_sampling_is_reproducible_and_reaches_every_episode():
    buffer = buffer_of(8)
    buffer.insert_episode_batch(batch_of(8))
    one, other = np.random.default_rng(3), np.random.default_rng(3)
    drawn = [episodes(buffer.sample(2, rng=one)) for _ in range(200)]
    assert drawn == [episodes(buffer.sample(2, rng=other)) for _ in range(200)]
    counts = np.bincount(np.ravel(drawn), minlength=8)
    # 200 draws of 2 out of 8: 50 each, standard deviation 6.1; 5 of them leave one false alarm in 10^5
    assert (abs(counts - 50) < 31).all()


@pytest.mark.parametrize("n_inserted", [0, 3, 6])
def test_a_restored_buffer_is_the_saved_one(n_inserted):
    buffer = buffer_of(4)
    if n_inserted:
        buffer.insert_episode_batch(batch_of(n_inserted))
    state = buffer.state_dict()
    assert all(len(tensor) == min(n_inserted, 4) for tensor in state["data"].values())
    restored = buffer_of(4)
    restored.insert_episode_batch(batch_of(2, first=20))
    restored.load_state_dict(state)
    for each in (buffer, restored):
        each.insert_episode_batch(batch_of(1, first=9))
    assert restored.episodes_in_buffer == buffer.episodes_in_buffer
    assert restored.buffer_index == buffer.buffer_index
    for key in buffer.scheme:
        n = buffer.episodes_in_buffer
        assert restored[key][:n].equal(buffer[key][:n]), key


def test_steps_that_were_not_played_stay_empty_in_a_restored_buffer():
    buffer, restored = buffer_of(4), buffer_of(4)
    buffer.insert_episode_batch(batch_of(2, length=T - 1))
    buffer.insert_episode_batch(batch_of(1))
    restored.load_state_dict(buffer.state_dict())
    assert not buffer["actions_onehot"][:2, T - 1].any() and buffer["actions_onehot"][2, T - 1].any()
    for key in buffer.scheme:
        assert restored[key].equal(buffer[key]), key


@pytest.mark.parametrize("n_inserted", [0, 3, 6])
def test_a_state_to_be_written_at_once_needs_no_second_memory_and_no_longer_file(n_inserted, tmp_path):
    buffer = buffer_of(4)
    buffer.add_key("half", {"vshape": (3,), "dtype": torch.bfloat16})  # numpy has no such type
    if n_inserted:
        batch = batch_of(n_inserted)
        half = torch.randn(n_inserted, T, 3).bfloat16()
        batch.add_key("half", {"vshape": (3,), "dtype": torch.bfloat16}, half)
        buffer.insert_episode_batch(batch)
    shared = buffer.state_dict()
    copied = {**shared, "data": {key: tensor.clone() for key, tensor in shared["data"].items()}}
    sizes = []
    for name, state in (("copied", copied), ("shared", shared)):
        torch.save(state, tmp_path / name)
        sizes.append((tmp_path / name).stat().st_size)
    assert abs(sizes[0] - sizes[1]) < 64  # the archive's own name is in it
    written = torch.load(tmp_path / "shared", weights_only=True)
    for key, tensor in shared["data"].items():
        assert written["data"][key].dtype == tensor.dtype and written["data"][key].equal(copied["data"][key]), key
        assert n_inserted == 0 or tensor.data_ptr() == buffer[key].data_ptr(), key


def test_a_state_of_another_buffer_is_refused_and_nothing_changes():
    saved = buffer_of(4)
    saved.insert_episode_batch(batch_of(4))
    state = saved.state_dict()
    with pytest.raises(CheckpointError, match="buffer_size=3"):
        buffer_of(3).load_state_dict(state)
    with pytest.raises(CheckpointError, match="buffer_size=5"):
        buffer_of(5).load_state_dict(state)
    longer = buffer_of(4, length=T + 1)
    with pytest.raises(CheckpointError, match="differs in actions, filled, obs, reward, state: 'actions' is"):
        longer.load_state_dict(state)
    assert longer.episodes_in_buffer == 0


def test_a_key_added_later_travels_with_its_episodes():
    buffer, batch = buffer_of(), batch_of(2)
    info = {"vshape": (3,), "group": "agents"}
    value = torch.randn(2, T, N, 3)
    buffer.add_key("note", info)
    batch.add_key("note", info, value)
    buffer.insert_episode_batch(batch)
    assert torch.equal(buffer["note"][:2], value)
    again = buffer_of()
    again.add_key("note", info)
    again.load_state_dict(buffer.state_dict())
    assert torch.equal(again["note"], buffer["note"])
    with pytest.raises(ValueError, match="'note' has shape"):
        batch.add_key("note", info, value[:, 1:])


# -- what learners ask for ---------------------------------------------------------------------------------


@pytest.mark.parametrize("n_inserted", [3, 4, 5, 6, 9, 13])
def test_the_latest_episodes_are_those_of_a_smaller_buffer_in_their_order(n_inserted):
    large, small = buffer_of(7), buffer_of(4)
    for first in range(n_inserted):
        large.insert_episode_batch(batch_of(1, first=first))
        small.insert_episode_batch(batch_of(1, first=first))
    assert episodes(large.latest(3)) == episodes(small.latest(3)) == [n_inserted - 3, n_inserted - 2, n_inserted - 1]
    for key in large.scheme:
        assert large.latest(3)[key].equal(small.latest(3)[key]), key


def test_the_latest_episodes_own_their_memory_and_must_be_stored():
    buffer = buffer_of(4)
    buffer.insert_episode_batch(batch_of(6))
    buffer.latest(4)["state"].zero_()
    assert buffer["state"].equal(batch_of(6)["state"][[4, 5, 2, 3]])
    with pytest.raises(ValueError, match="cannot give the latest 5 episodes, only 4 are stored"):
        buffer.latest(5)


def test_a_restored_ring_gives_the_same_latest_episodes():
    buffer, restored = buffer_of(4), buffer_of(4)
    buffer.insert_episode_batch(batch_of(6))
    restored.load_state_dict(buffer.state_dict())
    assert episodes(restored.latest(3)) == episodes(buffer.latest(3)) == [3, 4, 5]


def test_a_request_is_served_once_enough_is_stored():
    buffer, request = buffer_of(8), BatchRequest(2, latest=True, stored=5)
    for first, ready in [(0, False), (2, False), (4, True)]:
        buffer.insert_episode_batch(batch_of(2, first=first))
        assert buffer.can_serve(request) == ready
    assert episodes(buffer.serve(request, rng=np.random.default_rng(0))) == [4, 5]


def test_a_request_for_any_episodes_draws_as_sample_does():
    buffer = buffer_of(8)
    buffer.insert_episode_batch(batch_of(8, length=3))
    one, other = np.random.default_rng(3), np.random.default_rng(3)
    served = buffer.serve(BatchRequest(4), rng=one)
    assert episodes(served) == episodes(buffer.sample(4, rng=other)) and served.max_seq_length == 3
