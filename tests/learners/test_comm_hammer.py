"""HAMMER: messages are noisy while learning, and 0 or 1 in tests and in the target network."""

import pytest
import torch
from learner_fixtures import GROUPS, T, batch_of, full_scheme, settings

from controllers import REGISTRY
from modules.comm.steps import ACT, LEARN, TEST


@pytest.mark.parametrize(
    ("mode", "training", "is_noisy"),
    [(LEARN, True, True), (ACT, False, True), (TEST, False, False), (LEARN, False, False)],
    ids=["online network", "acting", "tests", "target network"],
)
def test_the_noisy_sigmoid_is_for_whoever_explores(mode, training, is_noisy):
    torch.manual_seed(0)
    args = settings(comm="hammer", hammer_dru=True)
    mac = REGISTRY[args.mac](full_scheme(), GROUPS, args)
    mac.train(training)
    steps = mac.steps(batch_of([T - 1]), mode)
    message = torch.randn(steps.n_rows, 3, 4)
    regulated = mac.comm._regulated(steps, message)
    if is_noisy:
        assert not torch.equal(regulated, mac.comm._regulated(steps, message))
    else:
        assert torch.equal(regulated, (message > 0).float())
