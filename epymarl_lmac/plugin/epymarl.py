"""EPyMARL as it is now (v2, Gymnasium)."""

from __future__ import annotations

from epymarl_lmac.plugin.host import Host

ALGS = frozenset(
    """coma coma_ns ia2c ia2c_ns ippo ippo_ns iql iql_ns maa2c maa2c_ns maddpg maddpg_ns mappo mappo_ns pac_dcg_ns
    pac_ns qmix qmix_ns vdn vdn_ns""".split()
)
ENTRIES = frozenset(
    """q_learner coma_learner qtran_learner actor_critic_learner maddpg_learner ppo_learner pac_learner
    pac_dcg_learner basic_mac non_shared_mac maddpg_mac rnn rnn_ns rnn_feat sc2 sc2v2 smaclite gymma""".split()
)

HOST = Host(
    kind="epymarl",
    title="EPyMARL",
    optional=("smaclite",),
    algs=ALGS,
    envs=frozenset({"gymma", "sc2", "sc2_beta", "sc2v2", "smaclite"}),
    entries=ENTRIES,
)
