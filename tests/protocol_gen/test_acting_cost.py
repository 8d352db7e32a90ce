"""What a bundle adds to acting: the line that the command prints."""

import re

from designs import TEXTS

from epymarl_lmac.protocol.engine.signature import MESSAGE
from protocol_gen.acting_cost import describe_cost


def test_every_shipped_step_is_timed(builder):
    steps = [0, 2]
    programs = [builder(TEXTS[k], MESSAGE.spec(k, 3, 9, 10)) for k in steps]
    line = describe_cost(steps, programs)
    found = re.fullmatch(r"time of a message step in 16 environments .*: k = 0 (\S+) ms, k = 2 (\S+) ms", line)
    assert found and all(float(ms) >= 0 for ms in found.groups())
