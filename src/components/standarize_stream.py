"""Running mean and variance under EPyMARL's module name; the code is in ``epymarl_lmac.learning.running_stats``."""

from epymarl_lmac.learning.running_stats import RunningMeanStd

__all__ = ["RunningMeanStd"]
