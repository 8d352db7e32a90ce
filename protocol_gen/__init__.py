"""Designs protocols offline and writes the bundles that ``lmac_qmix`` loads.

``python -m protocol_gen --env-config=ENV`` designs a bundle (read ``pipeline.py`` first), ``build`` turns texts into a
checked bundle, ``measure`` reports what agents can recover of the state with one.
"""
