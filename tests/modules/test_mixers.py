"""QMIX and VDN: formula, monotonicity, layout."""

from types import SimpleNamespace

import pytest
import torch

from epymarl_lmac.errors import SettingsError
from epymarl_lmac.learning import forms, mixing, products
from modules.mixers import REGISTRY
from modules.mixers.qmix_mixer import QMixer

B, T, N, S, E = 2, 3, 4, 5, 6


def args(layers=2):
    return SimpleNamespace(n_agents=N, state_shape=S, mixing_embed_dim=E, hypernet_layers=layers, hypernet_embed=7)


def one_row(mixer, q, s):
    """The published formula for one step, written plainly."""
    w1 = mixer.hyper_w_1(s).abs().view(N, E)
    hidden = torch.nn.functional.elu(q @ w1 + mixer.hyper_b_1(s))
    return hidden @ mixer.hyper_w_final(s).abs() + mixer.V(s).squeeze()


@pytest.mark.parametrize("layers", [1, 2])
def test_qmix_equals_the_formula_row_by_row(layers):
    torch.manual_seed(0)
    mixer = QMixer(args(layers))
    q, s = torch.randn(B, T, N), torch.randn(B, T, S)
    mixed = mixer(q, s)
    assert mixed.shape == (B, T, 1)
    for b in range(B):
        for t in range(T):
            torch.testing.assert_close(mixed[b, t, 0], one_row(mixer, q[b, t], s[b, t]))


@pytest.mark.parametrize("block_rows", [1, 4, 1024])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("library", [products.TORCH, products.NUMPY])
def test_compiled_mixing_and_its_gradients_equal_pytorchs(library, layers, block_rows, monkeypatch):
    monkeypatch.setattr(mixing, "BLOCK_ROWS", block_rows)
    monkeypatch.setattr(products, "_is_numpy", library == products.NUMPY)
    torch.manual_seed(0)
    mixer = QMixer(args(layers))
    q, s = torch.randn(B, T, N, requires_grad=True), torch.randn(B, T, S, requires_grad=True)
    found = []
    for plain_only in (False, True):
        monkeypatch.setattr(forms, "plain_only", plain_only)
        mixed = mixer(q, s)
        grads = torch.autograd.grad((mixed * torch.arange(T).view(1, T, 1)).sum(), [q, s, *mixer.parameters()])
        with torch.no_grad():
            found.append([mixed.detach(), mixer(q, s), *grads])
    for compiled, plain in zip(*found, strict=True):
        torch.testing.assert_close(compiled, plain)


def test_a_weight_of_zero_passes_no_gradient():
    mixer = QMixer(args())
    with torch.no_grad():
        for parameter in mixer.hyper_w_1[2].parameters():
            parameter.zero_()
    mixer(torch.ones(B, T, N), torch.ones(B, T, S)).sum().backward()
    assert not mixer.hyper_w_1[2].bias.grad.any() and mixer.hyper_w_final[2].bias.grad.any()


def test_qmix_never_decreases_in_an_agents_value():
    torch.manual_seed(0)
    mixer = QMixer(args())
    q = torch.randn(B, T, N, requires_grad=True)
    mixer(q, torch.randn(B, T, S)).sum().backward()
    assert (q.grad >= 0).all() and (q.grad > 0).any()


def test_qmix_gradient_reaches_every_parameter():
    torch.manual_seed(0)
    mixer = QMixer(args())
    mixer(torch.randn(B, T, N), torch.randn(B, T, S)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in mixer.parameters())


def test_vdn_sums_agents():
    q = torch.arange(B * T * N, dtype=torch.float32).view(B, T, N)
    assert torch.equal(REGISTRY["vdn"](args())(q, torch.zeros(B, T, S)), q.sum(-1, keepdim=True))


def test_three_hypernetwork_layers_are_refused_by_number():
    with pytest.raises(SettingsError, match="hypernet_layers=3"):
        QMixer(args(3))
