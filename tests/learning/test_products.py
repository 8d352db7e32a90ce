"""Matrix products by numpy equal those by PyTorch, in every pass that uses them, and the choice follows its rule."""

import pytest
import threadpoolctl
import torch
from torch import nn

from epymarl_lmac.learning import products
from epymarl_lmac.learning.gru import gru_sequence
from epymarl_lmac.learning.losses import recovery_losses
from epymarl_lmac.learning.mlp import mlp
from epymarl_lmac.processor import is_amd_with_avx512

AMD = "processor : 0\nvendor_id : AuthenticAMD\nflags : fpu {}\n\nprocessor : 1\nvendor_id : Other\nflags : fpu\n"
AVX512 = "avx512f avx512dq avx512cd avx512bw avx512vl"


@pytest.fixture(autouse=True)
def library_of_the_other_tests():
    n_threads = torch.get_num_threads()
    limits = threadpoolctl.threadpool_limits(user_api="blas")
    yield
    products.use(products.TORCH, n_threads)
    limits.restore_original_limits()


def run_linear():
    layer, x = nn.Linear(5, 3), torch.randn(7, 5, requires_grad=True)
    return products.linear(x, layer.weight, layer.bias), [x, *layer.parameters()]


def run_mlp():
    network = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.LayerNorm(4), nn.Linear(4, 3))
    parts = [torch.randn(7, width, requires_grad=True) for width in (2, 3)]
    return mlp(network, *parts), [*parts, *network.parameters()]


def run_gru():
    cell, first, counts = nn.GRUCell(4, 6), nn.Linear(5, 4), [4, 4, 2, 1]
    parts = [torch.randn(sum(counts), width, requires_grad=True) for width in (2, 3)]
    h0 = torch.randn(4, 6, requires_grad=True)
    h = gru_sequence(cell, parts, h0, counts, first=first)
    return h, [*parts, h0, *cell.parameters(), *first.parameters()]


def run_recovery_losses():
    decoder = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 4))
    cycle = nn.Sequential(nn.Linear(4, 4))
    z = torch.randn(5, 2, 4, requires_grad=True)
    losses = recovery_losses(decoder, cycle, z, torch.randn(5, 2), 0.3)[1:]
    return torch.stack(losses), [z, *decoder.parameters(), *cycle.parameters()]


@pytest.mark.parametrize("run", [run_linear, run_mlp, run_gru, run_recovery_losses])
def test_numpys_products_give_what_pytorchs_do(run, monkeypatch):
    found, calls, real = [], [], products.np.matmul
    monkeypatch.setattr(products.np, "matmul", lambda *words, **more: calls.append(1) or real(*words, **more))
    for library in (products.TORCH, products.NUMPY):
        assert products.use(library, 1) == library
        torch.manual_seed(0)
        out, inputs = run()
        weights = torch.linspace(-1, 1, out.numel()).view_as(out)
        found.append([out.detach(), *torch.autograd.grad((out * weights).sum(), inputs)])
        assert bool(calls) == (library == products.NUMPY)
    for of_torch, of_numpy in zip(*found, strict=True):
        torch.testing.assert_close(of_numpy, of_torch)


def test_a_part_of_a_larger_array_is_written_and_added_to():
    products.use(products.NUMPY, 1)
    left, right = torch.randn(4, 6)[:, 1:4], torch.randn(5, 3).t()
    large = torch.ones(4, 9)
    products.product(left, right, out=large[:, 2:7])
    products.add_product(large[:, 2:7], left, right)
    torch.testing.assert_close(large[:, 2:7], 2 * left @ right)
    assert torch.equal(large[:, :2], torch.ones(4, 2)) and torch.equal(large[:, 7:], torch.ones(4, 2))


def test_pytorch_gets_the_threads_and_numpys_library_one():
    products.use(products.NUMPY, 2)
    assert torch.get_num_threads() == 2
    blas = [pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
    assert blas and all(pool["num_threads"] == 1 for pool in blas)


@pytest.mark.parametrize(("text", "expected"), [
    (AMD.format(AVX512), True),
    (AMD.format("avx512f"), False),  # not all of what the kernels use
    (AMD.format(AVX512).replace("AuthenticAMD", "GenuineIntel"), False),
    ("", False),
])  # fmt: skip
def test_what_is_an_amd_processor_with_avx512(text, expected, tmp_path):
    path = tmp_path / "cpuinfo"
    path.write_text(text)
    assert is_amd_with_avx512(path) is expected
    assert not is_amd_with_avx512(tmp_path / "nothing")


@pytest.mark.parametrize(("is_amd", "kernels", "chosen"), [
    (True, "SkylakeX", "numpy"), (True, "Cooperlake", "numpy"), (True, "Haswell", "torch"), (True, "", "torch"),
    (False, "SkylakeX", "torch"),
])  # fmt: skip
def test_auto_is_numpy_where_only_numpy_has_avx512(is_amd, kernels, chosen, monkeypatch):
    monkeypatch.setattr(products, "is_amd_with_avx512", lambda: is_amd)
    monkeypatch.setattr(products, "_numpys_kernels", lambda: kernels)
    assert products.use(products.AUTO, 1) == chosen
    assert products.use(products.AUTO, 2) == "torch"
    assert products.use(products.AUTO, 1) == chosen
    assert products.description() == ("torch" if chosen == "torch" else f"numpy, {kernels} kernels")
