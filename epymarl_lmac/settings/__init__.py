"""Settings of a run: one place to read defaults (yaml), one place for names and types (``schema``)."""

from epymarl_lmac.settings.load import algorithms, environments, load_settings, method_schema
from epymarl_lmac.settings.schema import RunSettings, freeze

__all__ = ["RunSettings", "algorithms", "environments", "freeze", "load_settings", "method_schema"]
