"""Mixers: per-agent Q-values and the state -> one Q_tot."""

from epymarl_lmac.plugin.entry_points import extended
from modules.mixers.linear_mixer import LinearMixer
from modules.mixers.qmix_mixer import QMixer
from modules.mixers.vdn_mixer import VDNMixer

REGISTRY = extended("mixers", {"linear": LinearMixer, "qmix": QMixer, "vdn": VDNMixer})
