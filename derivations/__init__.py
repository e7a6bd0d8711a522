"""Symbolic derivations; `python -m derivations` checks them and writes `sde_momentum/formulas.py`."""
