"""PyMARL2: other names, three-valued steps, one seed for all environments of a run, code for older Pythons."""

from __future__ import annotations

from epymarl_lmac.plugin.host import Host
from epymarl_lmac.plugin.older import restore_removed_names

ALGS = frozenset(
    """coma cw_qmix dop ippo iql lica ow_qmix qatten qmix qmix_att qmix_conv qmix_high_sample_efficiency qmix_large
    qmix_predator_prey qplex qtran riit riit_online vdn vdn_gfootball vmix""".split()
)
ENTRIES = frozenset(
    """q_learner coma_learner qtran_learner ppo_learner lica_learner nq_learner policy_gradient_v2 max_q_learner
    dmaq_qatten_learner offpg_learner fmac_learner basic_mac n_mac ppo_mac conv_mac basic_central_mac lica_mac dop_mac
    rnn n_rnn rnn_ppo conv_agent ff central_rnn mlp att_rnn noisy_rnn sc2 stag_hunt one_step_matrix_game
    gfootball""".split()
)


HOST = Host(
    kind="pymarl2",
    title="PyMARL2",
    renamed={"hidden_dim": "rnn_hidden_dim"},
    five_values=False,
    spreads_seeds=False,
    optional=("smac", "pysc2", "s2clientprotocol", "absl", "pygame"),
    algs=ALGS,
    envs=frozenset({"gfootball", "one_step_matrix_game", "sc2", "sc2_beta", "stag_hunt"}),
    entries=ENTRIES,
    prepare=restore_removed_names,
)
