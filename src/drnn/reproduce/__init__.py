"""The paper's experiments as sets of runs: planned, run side by side, and written down one result file each."""

from drnn.reproduce.plan import Job, ablation, table1
from drnn.reproduce.result import result_of
from drnn.reproduce.runner import run_jobs

__all__ = ["Job", "ablation", "result_of", "run_jobs", "table1"]
