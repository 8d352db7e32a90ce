"""Settings of a run: defined once in ``schema`` (and a method's own on its class), stated otherwise in yaml files."""

from epymarl_lmac.settings.fields import setting
from epymarl_lmac.settings.files import algorithms, environments
from epymarl_lmac.settings.load import load_settings, merge, method_schema, recorded_run
from epymarl_lmac.settings.schema import RunSettings, freeze

__all__ = [
    "RunSettings",
    "algorithms",
    "environments",
    "freeze",
    "load_settings",
    "merge",
    "method_schema",
    "recorded_run",
    "setting",
]
