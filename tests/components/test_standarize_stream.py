"""Running mean and variance equal those of all values seen at once."""

import pytest
import torch

from components.standarize_stream import RunningMeanStd

NO_PRIOR = 1e-12  # weight of the prior in values: small against every tolerance here


def stream(n, *shape):
    generator = torch.Generator().manual_seed(5)
    return [3 + 2 * torch.randn(*shape, generator=generator) for _ in range(n)]


@pytest.mark.parametrize("shape", [(), (1,)])
def test_pooled_statistics_are_those_of_all_values(shape):
    parts = stream(7, 4, 5, 3)
    ours = RunningMeanStd(epsilon=NO_PRIOR, shape=shape)
    for part in parts:
        ours.update(part)
    everything = torch.stack(parts).double()
    assert ours.mean.shape == ours.var.shape == torch.Size(shape)
    assert ours.mean.item() == pytest.approx(everything.mean().item(), rel=1e-6)
    assert ours.var.item() == pytest.approx(everything.var(correction=0).item(), rel=1e-6)
    assert ours.count.item() == pytest.approx(7 * 60)


def test_columns_are_kept_apart():
    parts = [part * torch.tensor([1.0, 10.0]) for part in stream(4, 6, 2)]
    ours = RunningMeanStd(epsilon=NO_PRIOR, shape=(2,))
    for part in parts:
        ours.update(part)
    everything = torch.cat(parts)
    torch.testing.assert_close(ours.mean, everything.mean(0))
    torch.testing.assert_close(ours.var, everything.var(0, correction=0))
    with pytest.raises(ValueError, match=r"the last dimension must be 2"):
        ours.update(torch.zeros(5, 3))


def test_padded_steps_do_not_count_whatever_they_hold():
    values, mask = stream(1, 4, 6, 3)[0], torch.ones(4, 6, 1)
    mask[2:, 3:] = 0
    kept = values[mask.expand_as(values) == 1]
    for filler in (1e6, float("nan"), float("inf")):
        ours = RunningMeanStd(epsilon=NO_PRIOR, shape=(1,))
        ours.update(torch.where(mask == 0, filler, values), mask)
        assert ours.mean.item() == pytest.approx(kept.mean().item(), abs=1e-6)
        assert ours.var.item() == pytest.approx(kept.var(correction=0).item(), rel=1e-5)
        assert ours.count.item() == pytest.approx(len(kept))


def test_a_batch_without_valid_steps_changes_nothing():
    ours = RunningMeanStd(shape=(1,))
    ours.update(torch.ones(3, 1))
    before = ours.state_dict()
    ours.update(torch.full((3, 1), 9.0), torch.zeros(3, 1))
    assert all(torch.equal(before[key], value) for key, value in ours.state_dict().items())


def test_the_prior_is_mean_zero_variance_one():
    ours = RunningMeanStd(epsilon=1.0)
    assert (ours.mean.item(), ours.var.item()) == (0.0, 1.0)
    ours.update(torch.tensor([[2.0]]))  # with one prior value: mean 1, variance (1 + 0 + 2 * 1) / 2
    assert ours.mean.item() == 1.0
    assert ours.var.item() == pytest.approx(1.5)


def test_small_changes_on_a_large_mean_are_not_lost():
    ours = RunningMeanStd(epsilon=NO_PRIOR)
    for _ in range(1000):
        ours.update(torch.tensor([[10_000.0], [10_001.0]]))
    assert ours.var.item() == pytest.approx(0.25, rel=1e-6)


def test_standardised_values_stay_float32():
    ours = RunningMeanStd(shape=(1,))
    values = stream(1, 8, 1)[0]
    ours.update(values)
    assert ((values - ours.mean) / ours.var.sqrt()).dtype == torch.float32


def test_restored_statistics_go_on_to_the_bit():
    parts = stream(6, 4, 3)
    whole, first = RunningMeanStd(shape=(1,)), RunningMeanStd(shape=(1,))
    for part in parts:
        whole.update(part)
    for part in parts[:3]:
        first.update(part)
    resumed = RunningMeanStd(shape=(1,))
    resumed.load_state_dict(first.state_dict())
    for part in parts[3:]:
        resumed.update(part)
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key])
