"""Measured speed: what skipping saves in milliseconds, in pairs, against the multiply-adds that were executed."""

from drnn.bench.scripts import LoopScript, script_by_rate, script_by_total

__all__ = ["LoopScript", "script_by_rate", "script_by_total"]
