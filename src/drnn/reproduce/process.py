"""One job as a process that trains, then as a thread that evaluates."""

import signal
import subprocess
from dataclasses import dataclass
from threading import Thread

from drnn.reproduce.plan import Job
from drnn.reproduce.result import result_of
from drnn.storage import write_json
from drnn.training.interrupt import SAVED, SIGNALS
from drnn.training.run_folder import SUMMARY, read_metrics

LOG = "train.log"
ENDED = tuple(128 + number for number in SIGNALS)  # exit codes of a run that was interrupted and saved
WARNED = "drnn: "  # how a line of warning begins in a log
FAILED = "drnn train: "  # how a line begins that says why a run ended
KILLED = tuple(-number for number in SIGNALS)  # of one that was asked before it could save, or after


@dataclass(frozen=True)
class End:
    """How a job ended.

    Attributes:
        state: as of an `Outcome`.
        words: the reason.
        lost: what came since the last checkpoint is not saved.
    """

    state: str
    words: str
    lost: bool = False


class JobProcess:
    """A job that was begun. Its evaluation, minutes on a CPU, leaves the caller free to look after the others.

    Args:
        job: what it is of.
        command: the `drnn train` to start; what it says goes to ``train.log`` in the run folder.
        data_root: where the data set is, if not where the run's recipe says.

    Raises:
        OSError: the folder cannot be written, or no process started.
    """

    def __init__(self, job: Job, command: list[str], data_root: str | None):
        self.job, self.data_root, self.asked = job, data_root, False
        self.evaluation: Thread | None = None
        self.evaluated = End("failed", "its evaluation ended without a word")
        job.folder.mkdir(parents=True, exist_ok=True)
        with open(job.folder / LOG, "a", encoding="utf-8") as log:
            self.begun = self.read = log.tell()  # bytes of the log
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)

    def ask_to_end(self, again: bool = False) -> None:
        """Save the run and end; an evaluation that has begun is finished, one that has not does not begin.

        Args:
            again: also where that was asked before. A run that was asked long ago then ends unsaved.
        """
        if again or not self.asked:
            self.asked = True
            self.process.send_signal(signal.SIGTERM)

    def warnings(self) -> list[str]:
        """What its log warns of since the last call."""
        with open(self.job.folder / LOG, "rb") as log:
            log.seek(self.read)
            new = log.read()
        whole = new[: new.rfind(b"\n") + 1]
        self.read += len(whole)
        lines = whole.decode("utf-8", errors="replace").splitlines()
        return [line.removeprefix(WARNED) for line in lines if line.startswith(WARNED)]

    def look(self) -> End | None:
        """How the job ended; None as long as it has not."""
        code = self.process.poll()
        if code is None:
            return None
        if code != 0:
            return _ended(self.job, code, self._last_words())
        if self.evaluation is None:
            if self.asked:
                return End("stopped", progress(self.job))
            self.evaluation = Thread(target=self._evaluate, daemon=True)
            self.evaluation.start()
        return None if self.evaluation.is_alive() else self.evaluated

    def _last_words(self) -> str:
        """Its own, of a log that another process may write to as well."""
        with open(self.job.folder / LOG, "rb") as log:
            log.seek(self.begun)
            lines = log.read().decode("utf-8", errors="replace").strip().splitlines()
        return next((line for line in reversed(lines) if line.startswith(FAILED)), lines[-1] if lines else "no output")

    def _evaluate(self) -> None:
        try:
            result = result_of(self.job, self.data_root)
            write_json(self.job.file, result)
            self.evaluated = End("finished", f"error {result['error']:.2%}, written to {self.job.file}")
        except Exception as error:  # of whatever kind, the other jobs go on
            self.evaluated = failure(error)


def _ended(job: Job, code: int, words: str) -> End:
    """What an exit code other than 0 says, and the last words of the process."""
    if code in ENDED or (code in KILLED and SAVED in words):
        return End("stopped", progress(job))
    if code in KILLED:
        return End("stopped", f"{progress(job)}; what came since its last checkpoint is not saved", lost=True)
    return End("failed", f"failed with code {code}: {words}", lost=True)


def failure(error: Exception) -> End:
    """A job that an error ended, in the error's words."""
    named = isinstance(error, (ValueError, OSError)) and str(error)
    return End("failed", f"failed: {error if named else repr(error)}")


def progress(job: Job) -> str:
    """Where a run stands, in words."""
    if (job.folder / SUMMARY).is_file():
        return "trained, to be evaluated"
    return f"after {len(read_metrics(job.folder))} of {job.recipe.epochs} epochs"
