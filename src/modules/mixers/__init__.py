"""Mixers: per-agent Q-values and the state -> one Q_tot."""

from epymarl_lmac.plugin.entry_points import extended
from modules.mixers.qmix_mixer import QMixer
from modules.mixers.vdn_mixer import VDNMixer

REGISTRY = extended("mixers", {"qmix": QMixer, "vdn": VDNMixer})
