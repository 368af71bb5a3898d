"""What the gates learnt, as arrays, then as pictures and one report."""

from drnn.analysis.answers import Answers, answers_of
from drnn.analysis.findings import Findings
from drnn.analysis.runs import analyse_run
from drnn.analysis.subject import Options

__all__ = ["Answers", "Findings", "Options", "analyse_run", "answers_of"]
