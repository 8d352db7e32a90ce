"""Random protocols made of accepted operations give the same numbers as texts and as rebuilt programs."""

from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from epymarl_lmac.protocol import ProtocolSpec, build_program
from epymarl_lmac.protocol.engine.build import Limits

N, D, L = 3, 5, 4
LIMITS = replace(Limits(), cache=False)
# Templates on (B, N, D) values; {a} and {b} are earlier values, {i} and {j} small numbers.
OPERATIONS = (
    "{a} + {b}",
    "{a} * {b}",
    "{a} - {b} * 0.5",
    "th.where({a} > {b}, {a}, {b} + 1.0)",
    "th.roll({a}, shifts={i}, dims=1)",
    "{a}.flip(2)",
    "{a}.flip(1)",
    "{a}[..., th.tensor([{i}, {j}, 0, {i}, 1])]",
    "{a}.cumsum(dim=1)",
    "{a}.amax(dim=1, keepdim=True).expand(-1, AGENTS, -1)",
    "{a}.mean(dim=2, keepdim=True).expand(-1, -1, WIDTH)",
    "{a}.sum(dim=1, keepdim=True) - {a}",
    "{a}.clamp(-1.0, {j}.0)",
    "th.tanh({a})",
    "th.sigmoid({a} - {b})",
    "th.softmax({a}, dim={k})",
    "{a} / ({b}.abs() + 1.0)",
    "{a}.masked_fill({b} > 0, 0.0)",
    "({a} > {b}).to({a}.dtype)",
    "th.nn.functional.pad({a}[..., :WIDTH - {i}], ({i}, 0))",
    "{a}.gather(2, {b}.argmax(dim=2, keepdim=True).expand(-1, -1, WIDTH))",
    "{a}.gather(1, {b}.argsort(dim=1))",
    "{a} @ ({a}.transpose(1, 2) @ {b}) * 0.01",
    "th.einsum('bnd,bmd->bnm', {a}, {b}).amax(dim=2, keepdim=True).expand(-1, -1, WIDTH) * 0.1",
    "th.stack([{a}, {b}], dim=-1).amin(dim=-1)",
    "th.cat([{a}[..., {i}:], {b}[..., :{i}]], dim=-1)",
    "th.nn.functional.one_hot({a}.argmin(dim=-1), num_classes=WIDTH).to({a}.dtype)",
    "{a}.unsqueeze(2).expand(-1, -1, AGENTS, -1).sum(dim=1)",
    "th.sqrt({a}.square() + 1.0)",
    "sum([{a} * w for w in range(1, {i} + 2)])",
)
EXPRESSIONS = tuple("{v} = " + operation for operation in OPERATIONS)
# The same as statements that fill an array of their own in place; its old values and views of it may be read later.
FILLS = (
    "{v} = {a}.clone(); {v}[:, {i}] = {b}[:, 0]",
    "{v} = {a}.clone(); {v}[..., {i}:] = {b}[..., :WIDTH - {i}]",
    "{v} = {a} + 0.5; {v}[:, [0, {i}]] = {b}[:, [{j}, 0]]",
    "{v} = th.zeros_like({a}); {v}[:, :{i}, {j}:] = {b}[:, :{i}, {j}:]; {v}[:, {i}, 0] = 1.0",
    "{v} = {a} * 2.0; old = {v}[:, {i}] + 0.0; {v}[:, {i}] = {b}[:, {j}]; {v} = {v} + old.unsqueeze(1)",
    "{v} = {a} - 1.0; part = {v}[:, 1:]; {v}[:, 2] = {b}[:, 0]; {v} = {v} + part.sum(dim=1, keepdim=True)",
    "{v} = {a}.clone(); {v} += {b}; {v}[..., 0] *= 0.5",
    "{v} = th.where({a} > 0, {a} * 3.0, {b} * 2.0); {v} = th.where({b} > {i}, {a}, {v})",
)


@st.composite
def texts(draw):
    """Returns (text, L or None)."""
    history = draw(st.sampled_from([None, L]))
    lines, n_values = [], 1
    start = "o" if history is None else draw(st.sampled_from(["o[:, -1]", "o.mean(dim=1)", "o.cumsum(dim=1)[:, -1]"]))
    lines.append(f"v0 = {start}")
    for _ in range(draw(st.integers(1, 8))):
        values = st.integers(0, n_values - 1).map(lambda index: f"v{index}")
        template = draw(st.sampled_from(EXPRESSIONS) | st.sampled_from(FILLS))
        numbers = {key: draw(st.integers(1, 2)) for key in ("i", "j", "k")}
        lines += template.format(v=f"v{n_values}", a=draw(values), b=draw(values), **numbers).split("; ")
        n_values += 1
    own = "o" if history is None else "o[:, -1]"
    lines.append(f"return th.cat([{own}, v{n_values - 1}, v{draw(st.integers(0, n_values - 1))}[..., :2]], dim=-1)")
    body = "\n    ".join(lines)
    head = f"import torch as th\nAGENTS = {N}\nWIDTH = {D}\n"
    instruction = 'def message_design_instruction():\n    return "random"\n'
    return f"{head}{instruction}def communication(o):\n    {body}\n", history


def check(sample):
    text, history = sample
    spec = ProtocolSpec(N, D, history)
    program = build_program(text, spec, LIMITS)
    scope: dict = {}
    exec(text, scope)  # made by this file
    for rows, scale in ((1, 1.0), (6, 3.0), (17, 0.1)):
        o = scale * torch.randn(spec.input_shape(rows), generator=torch.Generator().manual_seed(rows))
        expected = scope["communication"](o.clone())
        assert torch.equal(program(o), expected), text
        assert torch.equal(program.message(o), expected[..., D:]), text


HYPOTHESIS = {
    "deadline": None,
    "derandomize": True,
    "suppress_health_check": list(HealthCheck),
    "phases": (Phase.generate, Phase.shrink),
}


@settings(max_examples=20, **HYPOTHESIS)
@given(texts())
def test_random_protocols_are_rebuilt_bit_equal(sample):
    check(sample)


@pytest.mark.slow
@settings(max_examples=500, **HYPOTHESIS)
@given(texts())
def test_many_random_protocols_are_rebuilt_bit_equal(sample):
    check(sample)
