"""Matrix products by numpy equal those by PyTorch, in every pass that uses them, and the choice follows its rule."""

import pytest
import threadpoolctl
import torch
from torch import nn

from epymarl_lmac.learning import gru, mixing, products, threads
from epymarl_lmac.learning.gru import gru_sequence
from epymarl_lmac.learning.losses import recovery_losses
from epymarl_lmac.learning.mixing import MixerWeights, mix
from epymarl_lmac.learning.mlp import mlp
from epymarl_lmac.processor import is_amd_with_avx512

AMD = "processor : 0\nvendor_id : AuthenticAMD\nflags : fpu {}\n\nprocessor : 1\nvendor_id : Other\nflags : fpu\n"
AVX512 = "avx512f avx512dq avx512cd avx512bw avx512vl"


def run_linear(bias=True):
    layer, x = products.Linear(5, 3, bias=bias), torch.randn(2, 7, 5, requires_grad=True)
    return layer(x), [x, *layer.parameters()]


def run_linear_without_bias():
    return run_linear(bias=False)


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


def run_gru_without_first_layer():
    cell, counts = nn.GRUCell(4, 6), [5, 3, 3, 1]
    x, residual = torch.randn(sum(counts), 4, requires_grad=True), torch.randn(sum(counts), 6, requires_grad=True)
    h = gru_sequence(cell, x, torch.randn(5, 6), counts, residual)
    return h, [x, residual, *cell.parameters()]


def run_mixing():
    sizes = [(7, 4), (7, 4), (3, 4), (3, 4), (6, 7), (3, 7), (1, 3)]
    layers = [[torch.randn(out, within), torch.randn(out)] for out, within in sizes]
    weights = MixerWeights(*layers)
    q, state = torch.randn(9, 2), torch.randn(9, 4)
    inputs = [q, state, *weights.flat()]
    for tensor in inputs:
        tensor.requires_grad_()
    return mix(q, state, weights), inputs


def run_recovery_losses():
    decoder = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 4))
    cycle = nn.Sequential(nn.Linear(4, 4))
    z = torch.randn(5, 2, 4, requires_grad=True)
    losses = recovery_losses(decoder, cycle, z, torch.randn(5, 2), 0.3)[1:]
    return torch.stack(losses), [z, *decoder.parameters(), *cycle.parameters()]


def gradients_of(run):
    torch.manual_seed(0)
    out, inputs = run()
    weights = torch.linspace(-1, 1, out.numel()).view_as(out)
    return [out.detach(), *torch.autograd.grad((out * weights).sum(), inputs)]


PASSES = [
    run_linear, run_linear_without_bias, run_mlp, run_gru, run_gru_without_first_layer, run_mixing, run_recovery_losses,
]  # fmt: skip


@pytest.mark.parametrize("run", [run for run in PASSES if run not in (run_gru, run_gru_without_first_layer)])
def test_numpys_products_give_what_pytorchs_do(run, monkeypatch):
    monkeypatch.setattr(products, "SMALL", 0)
    found, calls, real = [], [], products.np.matmul
    monkeypatch.setattr(products.np, "matmul", lambda *words, **more: calls.append(1) or real(*words, **more))
    for library in (products.TORCH, products.NUMPY):
        assert products.use(library, 1) == library
        found.append(gradients_of(run))
        assert bool(calls) == (library == products.NUMPY)
    for of_torch, of_numpy in zip(*found, strict=True):
        torch.testing.assert_close(of_numpy, of_torch)


@pytest.mark.parametrize("library", [products.TORCH, products.NUMPY])
@pytest.mark.parametrize("block_rows", [1, 3, 1024])
@pytest.mark.parametrize("n_threads", [2, 3])
@pytest.mark.parametrize("run", PASSES)
def test_threads_that_share_out_rows_give_what_one_does(run, n_threads, block_rows, library, monkeypatch):
    monkeypatch.setattr(products, "SMALL", 0)
    monkeypatch.setattr(threads, "SMALLEST_SHARE", 1)
    monkeypatch.setattr(gru, "GROUP_ROWS", block_rows)
    monkeypatch.setattr(mixing, "BLOCK_ROWS", block_rows)
    found, numbers, real = [], [], threads.run
    monkeypatch.setattr(threads, "run", lambda work, parts: numbers.append(len(parts)) or real(work, parts))
    for n in (1, n_threads):
        products.use(library, n, shares_rows=True)
        found.append(gradients_of(run))
        assert max(numbers, default=1) == n
    for of_one, of_several in zip(*found, strict=True):
        torch.testing.assert_close(of_several, of_one)


def test_threads_work_for_those_who_act(monkeypatch):
    monkeypatch.setattr(products, "SMALL", 0)
    monkeypatch.setattr(threads, "SMALLEST_SHARE", 1)
    products.use(products.NUMPY, 2)
    layer, x = products.Linear(5, 3), torch.randn(7, 5)
    with torch.inference_mode():  # as where episodes are played
        out = layer(x)
    torch.testing.assert_close(out.clone(), layer(x))


def test_threads_give_the_same_numbers_every_time(monkeypatch):
    monkeypatch.setattr(threads, "SMALLEST_SHARE", 1)
    products.use(products.NUMPY, 3)
    first, again = gradients_of(run_gru), gradients_of(run_gru)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_a_small_layer_is_pytorchs(monkeypatch):
    products.use(products.NUMPY, 1)
    layer, x = products.Linear(64, 64), torch.randn(2**9, 64)
    calls, real = [], products.np.matmul
    monkeypatch.setattr(products.np, "matmul", lambda *words, **more: calls.append(1) or real(*words, **more))
    layer(x[:-1])
    assert not calls
    layer(x)
    assert calls


def test_a_layer_that_is_not_trained_gets_no_gradient(monkeypatch):
    monkeypatch.setattr(products, "SMALL", 0)
    products.use(products.NUMPY, 1)
    layer, x = products.Linear(5, 3).requires_grad_(False), torch.randn(7, 5, requires_grad=True)
    layer(x).sum().backward()
    assert layer.weight.grad is None and layer.bias.grad is None
    torch.testing.assert_close(x.grad, layer.weight.sum(0).expand(7, 5))


def test_a_part_of_a_larger_array_is_written_and_added_to():
    products.use(products.NUMPY, 1)
    left, right = torch.randn(4, 6)[:, 1:4], torch.randn(5, 3).t()
    large = torch.ones(4, 9)
    products.product(left, right, out=large[:, 2:7])
    products.add_product(large[:, 2:7], left, right)
    torch.testing.assert_close(large[:, 2:7], 2 * left @ right)
    assert torch.equal(large[:, :2], torch.ones(4, 2)) and torch.equal(large[:, 7:], torch.ones(4, 2))


@pytest.mark.parametrize(("library", "shares_rows", "of_pytorch", "of_rows"), [
    (products.NUMPY, False, 1, 2), (products.NUMPY, True, 1, 2), (products.TORCH, True, 1, 2),
    (products.TORCH, False, 2, 1),
])  # fmt: skip
def test_threads_share_out_pytorchs_operations_or_rows(library, shares_rows, of_pytorch, of_rows):
    products.use(library, 2, shares_rows)
    assert (torch.get_num_threads(), threads.count()) == (of_pytorch, of_rows)
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
    assert products.use(products.AUTO, 1) == products.use(products.AUTO, 2) == chosen
    assert products.description() == ("torch" if chosen == "torch" else f"numpy, {kernels} kernels")
