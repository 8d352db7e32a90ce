"""Fixtures of the tests of learning."""

import pytest
import threadpoolctl
import torch

from epymarl_lmac.learning import products


@pytest.fixture(autouse=True)
def library_of_the_other_tests():
    """Gives the process its library of products and its threads back."""
    n_threads = torch.get_num_threads()
    limits = threadpoolctl.threadpool_limits(user_api="blas")
    yield
    products.use(products.TORCH, 1)
    torch.set_num_threads(n_threads)
    limits.restore_original_limits()
