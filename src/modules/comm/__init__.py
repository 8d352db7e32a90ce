"""Communication methods by name. A method is one file here, one yaml in ``config/algs`` and one line below.

``base.py`` says what a method offers. Methods are imported when they are used.
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
        "qmix_att": "modules.comm.qmix_att:QmixAttComm",
        "tarmac": "modules.comm.tarmac:TarmacComm",
    },
)
