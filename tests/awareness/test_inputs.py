"""Messages computed beforehand are those computed for a batch."""

import numpy as np
import torch

from epymarl_lmac.awareness import inputs
from epymarl_lmac.awareness.inputs import Episodes, rows_of
from epymarl_lmac.learning.extended_obs import XLayout
from epymarl_lmac.paths import protocols_root
from epymarl_lmac.protocol import Bundle

LAYOUT = XLayout(n_actions=6)


def test_messages_beforehand_equal_messages_of_a_batch(monkeypatch):
    monkeypatch.setattr(inputs, "PIECE_EPISODES", 3)
    programs = Bundle.load(protocols_root() / "lbf" / "8x8-2p-2f-s1-coop" / "default", None).programs
    g = torch.Generator().manual_seed(0)
    lengths = torch.tensor([6, 3, 5, 6, 2, 4, 6])
    episodes = Episodes(
        torch.randint(0, 2, (7, 6, 2, 27), generator=g).float(),
        torch.randint(0, 6, (7, 6, 2), generator=g),
        torch.rand(7, 6, 9, generator=g),
        lengths,
    )
    kept = episodes.with_messages(programs, LAYOUT)
    for chosen in (slice(None), np.array([4, 0, 2])):
        plain, cached = (rows_of(e[chosen], programs, [1, 4], LAYOUT) for e in (episodes, kept))
        torch.testing.assert_close(cached.u_PNU, plain.u_PNU)
        assert torch.equal(cached.truth_PI, plain.truth_PI) and cached.counts == plain.counts
    assert kept.heard_BTNM[1, 3:].eq(0).all()
