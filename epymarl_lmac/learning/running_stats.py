"""Running mean and variance of a stream of values, for standardised rewards and returns."""

from __future__ import annotations

import torch
from torch import Tensor


class RunningMeanStd:
    """Mean and variance over everything seen so far; sums are kept in float64.

    Args:
        epsilon: weight of the prior (mean 0, variance 1), in values.
        shape: shape of the statistics: ``()`` or ``(1,)`` pools all values, ``(K,)`` keeps K columns apart.
        device: where the statistics live.

    Source: Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances",
    1979. The variance is that of the values seen (divided by n).
    """

    def __init__(
        self,
        epsilon: float = 1e-4,
        shape: tuple[int, ...] = (),
        device: str | torch.device = "cpu",
    ) -> None:
        self.shape = tuple(shape)
        self._n_columns = max(1, int(torch.Size(self.shape).numel()))
        self._mean = torch.zeros(self._n_columns, dtype=torch.float64, device=device)
        self._var = torch.ones(self._n_columns, dtype=torch.float64, device=device)
        self._count = torch.full((self._n_columns,), epsilon, dtype=torch.float64, device=device)

    @property
    def mean(self) -> Tensor:
        """Mean so far, float32, of the statistics' shape."""
        return self._mean.float().reshape(self.shape)

    @property
    def var(self) -> Tensor:
        """Variance so far, float32, of the statistics' shape."""
        return self._var.float().reshape(self.shape)

    @property
    def count(self) -> Tensor:
        """Number of values seen, the prior's weight included, float64, of the statistics' shape."""
        return self._count.reshape(self.shape)

    @torch.no_grad()
    def update(self, arr: Tensor, mask: Tensor | None = None) -> None:
        """Adds values to the stream.

        Args:
            arr: values (..., K), or of any shape where all values are pooled.
            mask: of a shape that expands to ``arr``'s, nonzero where a value counts; None: all count.

        Raises:
            ValueError: the last dimension is not the number of columns kept apart.
        """
        if self._n_columns > 1 and arr.shape[-1] != self._n_columns:
            raise ValueError(
                f"RunningMeanStd of shape {self.shape} got values of shape {tuple(arr.shape)}; "
                f"the last dimension must be {self._n_columns}."
            )
        values = arr.double()
        is_counted = torch.ones_like(arr, dtype=torch.bool) if mask is None else (mask != 0).expand_as(arr)
        # where(), not a product: a padded step may hold anything, NaN included.
        values = torch.where(is_counted, values, 0.0).reshape(-1, self._n_columns)
        weight = is_counted.reshape(-1, self._n_columns).double()
        n = weight.sum(0)
        batch_mean = values.sum(0) / n.clamp(min=1.0)
        batch_m2 = (weight * (values - batch_mean).square()).sum(0)
        total = self._count + n
        delta = batch_mean - self._mean
        m2 = self._var * self._count + batch_m2 + delta.square() * self._count * n / total
        self._mean = self._mean + delta * n / total
        self._var = m2 / total
        self._count = total

    def state_dict(self) -> dict[str, Tensor]:
        """Returns the statistics in full precision."""
        return {"mean": self._mean.clone(), "var": self._var.clone(), "count": self._count.clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restores what ``state_dict`` returned."""
        for name in ("mean", "var", "count"):
            own = getattr(self, f"_{name}")
            setattr(self, f"_{name}", state[name].to(own).clone())
