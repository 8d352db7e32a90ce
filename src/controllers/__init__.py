"""Controllers: from an episode batch to Q-values and actions, one step at a time or all steps at once."""

from controllers.lmac_controller import LmacMAC
from controllers.sequence_controller import SequenceMAC
from epymarl_lmac.plugin.entry_points import extended

REGISTRY = extended("controllers", {"basic_mac": SequenceMAC, "lmac_mac": LmacMAC})
