"""Transforms that a batch applies to a key when it is written, e.g. actions to one-hot actions."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor


class Transform(abc.ABC):
    """A function of one key's values, with the layout of what it returns."""

    @abc.abstractmethod
    def transform(self, tensor: Tensor) -> Tensor:
        """Returns the transformed values; leading dimensions stay as they are."""

    def transform_array(self, array: np.ndarray) -> np.ndarray:
        """Returns the same of an array in main memory; a subclass may have a faster way for a few numbers."""
        return self.transform(torch.from_numpy(array)).numpy()

    @abc.abstractmethod
    def infer_output_info(
        self, vshape_in: int | tuple[int, ...], dtype_in: torch.dtype
    ) -> tuple[tuple[int, ...], torch.dtype]:
        """Returns (shape of one value, dtype) of the result for a key of this shape and dtype."""


Preprocess = Mapping[str, tuple[str, Sequence[Transform]]]  # key -> the key that is derived from it, and how


def transformed(array: np.ndarray, transforms: Sequence[Transform]) -> np.ndarray:
    """Returns an array after all transforms, one after the other."""
    for transform in transforms:
        array = transform.transform_array(array)
    return array


class OneHot(Transform):
    """Turns an index into a row of zeros with a one at that index.

    Args:
        out_dim: number of different indices.
    """

    def __init__(self, out_dim: int) -> None:
        self.out_dim = out_dim
        self._rows = np.eye(out_dim, dtype=np.float32)

    def transform(self, tensor: Tensor) -> Tensor:
        """Returns float32 (..., out_dim) for integers (..., 1)."""
        onehot = torch.zeros((*tensor.shape[:-1], self.out_dim), dtype=torch.float32, device=tensor.device)
        return onehot.scatter_(-1, tensor.long(), 1.0)

    def transform_array(self, array: np.ndarray) -> np.ndarray:
        return self._rows[array[..., 0]]

    def infer_output_info(
        self, vshape_in: int | tuple[int, ...], dtype_in: torch.dtype
    ) -> tuple[tuple[int, ...], torch.dtype]:
        return (self.out_dim,), torch.float32
