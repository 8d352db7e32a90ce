"""Controllers: from an episode batch to Q-values and actions, one step at a time or all steps at once."""

from controllers.sequence_controller import SequenceMac
from epymarl_lmac.plugin.entry_points import extended

REGISTRY = extended("controllers", {"basic_mac": SequenceMac})
