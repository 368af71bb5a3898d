"""Entry of the command ``drnn``: finds the verb, and turns errors a user can mend into one line."""

import logging
import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from importlib import import_module
from threading import current_thread, main_thread

from drnn.memory import is_lack_of_memory, keep_freed_memory

VERBS = {
    "train": "train a network by a recipe, evaluate it, and keep the run in a folder",
    "runs": "list runs with their best error",
    "eval": "evaluate a run again",
    "compare": "put two runs side by side: accuracy, parameters, multiply-adds, measured milliseconds",
    "calibrate": "turn a run's gates, without training, until an image costs what is asked for",
    "curve": "accuracy against multiply-adds and time while the gates are turned from closed to open",
    "predict": "classify image files, each with its loops and multiply-adds",
    "bench": "time a recursive network against its static counterpart: what is skipped, in milliseconds",
    "export": "write a network as a file that skips elsewhere: ONNX, or torch.export's .pt2",
    "analyze": "show what a run's gates learnt: arrays, figures, one report; or compare gradients",
    "reproduce": "run the paper's Table 1, or its ablation in small, and rebuild the table from the results",
    "release": "make a folder to give away of a finished run: weights, card, recipe",
    "models": "list the networks, with their costs",
    "recipes": "list the recipes",
    "tables": "print the paper's Tables 1-3 beside what the networks here come to",
}
RUNNING = ("eval", "compare", "calibrate", "curve", "predict", "bench")  # networks, without training them
MENDABLE = (ValueError, IndexError, OSError, FloatingPointError, MemoryError)
EXTRAS = {  # package -> the extra that brings it
    **dict.fromkeys(("onnx", "onnxruntime", "onnxscript"), "export"),
    **{"timm": "timm", "matplotlib": "plot", "tensorboard": "log", "datasets": "hub"},
}


def usage() -> str:
    """The help of the command as a whole."""
    verbs = "\n".join(f"  {verb:9} {says}" for verb, says in VERBS.items())
    return f"""usage: drnn VERB ...

Image models that loop one block instead of stacking many, and stop when the image is easy.

verbs:
{verbs}

first steps:
  drnn train digits                            about a minute on a CPU, no download
  drnn train digits-static                     its static counterpart
  drnn compare runs/digits runs/digits-static  what looping saves
  drnn analyze runs/digits                     what the gates learnt, in pictures

drnn VERB --help explains a verb; drnn --version prints the version; drnn --import MODULE VERB ... imports a module of
your own first, which may add norms, gates, networks and data sets to the registries."""


class Terminated(KeyboardInterrupt):
    """SIGTERM came; whatever cleans up after an error does so now."""

    exit_code = 128 + signal.SIGTERM


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """End as Ctrl-C does, so that nothing half-written is left; a training run, which saves instead, sets its own."""
    if current_thread() is not main_thread():
        yield
        return

    def end(*_) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # one that is sent twice must not disturb the cleaning up
        raise Terminated("SIGTERM received")

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is end:  # not where a run that was saved still listens for an echo
            signal.signal(signal.SIGTERM, before)


def nobody_reads() -> bool:
    """Whether standard output is a pipe whose reader has left, as ``head`` does."""
    if not hasattr(select, "poll"):
        return False
    output = select.poll()
    try:
        output.register(sys.stdout.fileno(), 0)  # what is wrong with it is told without being asked for
    except OSError:  # it is no file
        return False
    return bool(output.poll(0))


def import_own(name: str, verb: str) -> None:
    """Import a module of the user's, of this folder or installed.

    Raises:
        ValueError: no module of that name, or a verb whose processes would not know of it.
    """
    if verb == "reproduce":
        raise ValueError("--import received; reproduce has rows of its own, whose processes would not import it")
    problem = f"--import {name!r} received; give the name of a module, such as parts for parts.py in this folder"
    if not all(part.isidentifier() for part in name.split(".")):
        raise ValueError(problem)
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        import_module(name)
    except ModuleNotFoundError as error:
        if error.name == name or name.startswith(f"{error.name}."):
            raise ValueError(problem) from error
        raise  # one that it imports


def taken_out(arguments: list[str]) -> tuple[str | None, list[str]]:
    """The module behind a leading ``--import``, or ``--import=``, and what comes after.

    Example:
        >>> taken_out(["--import", "parts", "eval", "runs/a"]), taken_out(["eval", "runs/a"])
        (('parts', ['eval', 'runs/a']), (None, ['eval', 'runs/a']))
    """
    option, sign, name = arguments[0].partition("=") if arguments else ("", "", "")
    if option != "--import":
        return None, arguments
    return (name, arguments[1:]) if sign else ("".join(arguments[1:2]), arguments[2:])


def in_one_line(error: RuntimeError) -> str | None:
    """What the user can do about those of torch's errors that are no mistake of the program."""
    first = str(error).partition("\n")[0]
    if is_lack_of_memory(error):
        return f"out of memory; fewer images at a time need less ({first})"
    if first.startswith("DataLoader worker (pid"):
        return (
            f"a process that reads images ended ({first}); where memory, or shared memory in a container, is short, "
            "fewer of them need less: set workers to 1, or 0 for none"
        )
    return None


def main(argv: list[str] | None = None) -> int:
    """Run one verb; returns the exit code: 0, 1 where part of the work failed, 2 for what the user can mend.

    143, 130 or 129 when a signal ended it, 141 when nobody reads on.
    """
    own, arguments = taken_out(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if arguments[0] == "--version":
        from drnn import __version__

        print(__version__)
        return 0
    verb, *rest = arguments
    if verb not in VERBS:
        near = get_close_matches(verb, VERBS, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(VERBS)}."
        print(f"drnn: there is no verb {verb!r}; {hint}", file=sys.stderr)
        return 2
    if verb in RUNNING:
        keep_freed_memory()
    logging.basicConfig(format="drnn: %(message)s", level=logging.WARNING)
    logging.getLogger("drnn").setLevel(logging.INFO)
    try:
        with sigterm_raises():
            if own is not None:
                import_own(own, verb)
            code = import_module(f"drnn.cli.{verb}").run(rest) or 0
            sys.stdout.flush()
            return code
    except MENDABLE as error:
        if isinstance(error, BrokenPipeError) and nobody_reads():
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at its end
            return 128 + signal.SIGPIPE
        print(f"drnn {verb}: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        print(
            f"drnn {verb}: {package} is not installed; get it with: pip install 'drnn[{EXTRAS[package]}]'",
            file=sys.stderr,
        )
        return 2
    except RuntimeError as error:
        if (words := in_one_line(error)) is None:
            raise
        print(f"drnn {verb}: {words}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        print(f"drnn {verb}: {error or 'interrupted'}", file=sys.stderr)
        return getattr(error, "exit_code", 130)


if __name__ == "__main__":
    sys.exit(main())
