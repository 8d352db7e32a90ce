"""LMAC: what its protocols say where agents die."""

from types import SimpleNamespace

import torch
from learner_fixtures import GROUPS, N, O, T, batch_of, full_scheme, settings

from controllers import REGISTRY
from modules.comm import lmac
from modules.comm.steps import TEST


def q_of(mac, batch, changed=None):
    """Returns all Q-values (B, T, N, A) of a test; ``changed`` sees something else."""
    seen = batch.data.transition_data["obs"]
    noise = torch.zeros_like(seen)
    if changed is not None:
        noise[:, :, changed] = torch.randn(O, generator=torch.Generator().manual_seed(5))
    seen += noise
    with torch.no_grad():
        steps = mac.steps(batch, TEST)
        q = steps.packing.pad(mac.unroll(batch, steps).q_PNA)
    seen -= noise
    return q


def test_numbers_that_several_make_together_arrive_beside_a_dead_one_and_tell_nothing_of_it(monkeypatch, bundle):
    bundle.programs, bundle.steps = bundle.programs[:1], [0]
    monkeypatch.setattr(bundle.programs[0], "message", lambda o: o.sum(1, keepdim=True) - o)  # the sum of the others
    everyone = ~torch.eye(N, dtype=torch.bool).unsqueeze(1).expand(N, bundle.programs[0].message_dim, N)
    monkeypatch.setattr(lmac, "flow_map", lambda program: SimpleNamespace(senders=everyone.numpy))
    torch.manual_seed(0)
    args = settings(comm="lmac")
    mac = REGISTRY[args.mac](full_scheme(), GROUPS, args)
    mac.train(False)
    batch, alive = batch_of([T - 1, T - 1]), torch.ones(2, T, N, 1)
    alive[:, :, 1] = 0
    batch.add_key("alive", {"vshape": (1,), "group": "agents"}, alive)
    q = q_of(mac, batch)
    assert torch.allclose(q_of(mac, batch, changed=1)[:, :, [0, 2]], q[:, :, [0, 2]])
    assert not torch.allclose(q_of(mac, batch, changed=0)[:, :, 2], q[:, :, 2])
    assert not torch.allclose(q_of(mac, batch, changed=2)[:, :, 0], q[:, :, 0])
