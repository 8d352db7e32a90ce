"""The table of communication methods.

It is a file of its own, and not the package's, because forks of EPyMARL may have a package ``modules.comm`` themselves:
theirs then comes first, and this file is found beside it.
"""

from epymarl_lmac.plugin.entry_points import extended

REGISTRY = extended(
    "comm",
    {
        "cola": "modules.comm.cola:ColaComm",
        "commnet": "modules.comm.commnet:CommnetComm",
        "fullcomm": "modules.comm.fullcomm:FullcommComm",
        "hammer": "modules.comm.hammer:HammerComm",
        "lmac": "modules.comm.lmac:LmacComm",
        "maic": "modules.comm.maic:MaicComm",
        "masia": "modules.comm.masia:MasiaComm",
        "ndq": "modules.comm.ndq:NdqComm",
        "qmix_att": "modules.comm.qmix_att:QmixAttComm",
        "sms": "modules.comm.sms:SmsComm",
        "t2mac": "modules.comm.t2mac:T2macComm",
        "tarmac": "modules.comm.tarmac:TarmacComm",
    },
)
