"""Mixers: per-agent Q-values and the state -> one Q_tot."""

from modules.mixers.qmix import QMixer
from modules.mixers.vdn import VDNMixer

REGISTRY = {"qmix": QMixer, "vdn": VDNMixer}
