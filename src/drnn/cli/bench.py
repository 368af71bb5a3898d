"""``drnn bench inference`` and ``drnn bench export``."""

from pathlib import Path
from typing import Literal

from jsonargparse import ArgumentParser

from drnn.bench.inference import cases_for, read_entries, refuse_settings, run_cases
from drnn.bench.report import markdown
from drnn.bench.subjects import is_foreign, is_run
from drnn.drawing import refuse_picture
from drnn.models import model_spec
from drnn.models.counterparts import COUNTERPARTS
from drnn.provenance import usable_cores
from drnn.storage import refuse_place, write_json
from drnn.timing import wait
from drnn.training.distributed import choose_device
from drnn.training.run_folder import read_recipe


def run(argv: list[str]) -> None:
    """Measure what is missing, and print it."""
    what, *rest = argv or [""]
    if what not in MEASURED:
        if what in ("-h", "--help"):
            inference_parser().print_help()
            export_parser().print_help()
            raise SystemExit(0)
        raise ValueError(f"{what!r} received; say what to time: drnn bench inference, or drnn bench export")
    MEASURED[what](rest)


def inference_parser() -> ArgumentParser:
    """Options of ``drnn bench inference``."""
    made = ArgumentParser(
        prog="drnn bench inference",
        description="Time a recursive network against a static one in pairs: by name, with random weights and gates "
        "that do their work and then follow a script, Figure 8's spread for dr_resnet53, else the target rate; or a "
        "trained run, with its own gates on its own test images. efficiency = "
        "(static time / ours) / (static multiply-adds / ours executed); limit: the same if leaving cost nothing. "
        "Measurements that the file already holds are not repeated.",
    )
    made.add_argument(
        "--first", type=str, default="dr_resnet53", help="a recursive network, a run, or torchvision/NAME"
    )
    made.add_argument("--second", type=str, default=None, help="a static network; its counterpart by default")
    made.add_argument("--data_root", type=str, default=None, help="where a run's data set is now, if it has moved")
    made.add_argument("--batch_sizes", type=list[int], default=[1, 8, 32], help="images at a time")
    made.add_argument("--threads", type=list[int], default=sorted({1, usable_cores()}), help="CPU threads")
    made.add_argument("--forms", type=list[str], default=None,
        help="of both networks: plain, optimised, masked (no image skipped), compiled, captured (CUDA graphs at batch "
        "1); by default the first two, or plain with torchvision's")  # fmt: skip
    made.add_argument("--line", type=bool, default=False, help="sweep the rate from 1 to 0 instead")
    made.add_argument("--rounds", type=int, default=20, help="pairs a measurement")
    made.add_argument("--limit", type=int, default=None, help="stop after so many new measurements")
    made.add_argument(
        "--renew", action="store_true", help="measure again what another commit or GPU measured, in its place"
    )
    made.add_argument("--device", type=str, default="cpu", help="cpu, cuda, auto, ...")
    made.add_argument("--seed", type=int, default=0, help="of weights, images and loops, where no run has its own")
    made.add_argument("--json", type=str, default="runs/inference.json", help="the result file, added to")
    made.add_argument("--picture", type=str, default=None, help="also draw time against multiply-adds, .png or .svg")
    return made


def inference(argv: list[str]) -> None:
    """Measure what is missing, and print the file as a table."""
    options = inference_parser().parse_args(argv)
    first, second = _pair(options.first, options.second)
    plain_only = is_foreign(first) or is_foreign(second)
    forms = options.forms if options.forms is not None else ["plain"] if plain_only else ["plain", "optimised"]
    refuse_settings(options.threads, options.limit)
    device = choose_device(options.device)
    wait(device)  # what cannot be waited for is refused here
    if options.picture:
        refuse_picture(Path(options.picture))
        if is_foreign(first):
            raise ValueError(f"--picture received with {first}, which has no loops to draw; leave one of them out")
    how = (forms, options.rounds, options.line, options.seed, str(device), options.data_root)
    cases, file, left = cases_for((first, second), options.batch_sizes, *how), Path(options.json), options.limit
    if (kept := read_entries(file)) and not options.renew:
        print(f"{file} holds {len(kept)} measurements, which are not repeated; --renew repeats those of other commits")
    for threads in dict.fromkeys(options.threads):
        for entry in run_cases(cases, threads, file, left, options.renew):
            left = None if left is None else left - 1
            print(f"{entry['form']}, batch {entry['batch_size']}, {threads} threads: {entry['efficiency']:.3f}")
    print(markdown(read_entries(file)), end="")
    if options.picture:
        from drnn.bench.picture import draw_times

        draw_times(read_entries(file), Path(options.picture))


def export_parser() -> ArgumentParser:
    """Options of ``drnn bench export``."""
    made = ArgumentParser(
        prog="drnn bench export",
        description="Export a recursive network, its fixed part and a static network to ONNX, and time them in "
        "onnxruntime in pairs, with random weights and gates that take the loops asked for. efficiency as for "
        "drnn bench inference; closed: all gates closed against the fixed part alone, what asking costs.",
    )
    made.add_argument("--first", type=str, default="dr_resnet53", help="a recursive network")
    made.add_argument("--second", type=str, default=None, help="a static network; its counterpart by default")
    made.add_argument(
        "--mean_loops", type=float, default=None, help="loops of an image; 11.74 of dr_resnet53, else at target"
    )
    made.add_argument("--batch_sizes", type=list[int], default=None, help="images at a time; [1,8], or [1] for single")
    made.add_argument("--rounds", type=int, default=40, help="pairs at batch 1; fewer at larger ones")
    made.add_argument("--form", type=Literal["branches", "single"], default="branches", help="single: for batch size 1")
    made.add_argument("--threads", type=int, default=usable_cores(), help="of onnxruntime")
    made.add_argument("--folder", type=str, default="runs/bench-export", help="where exported files are kept")
    made.add_argument("--json", type=str, default="runs/export.json", help="the result file, replaced")
    return made


def export(argv: list[str]) -> None:
    """Export and time in onnxruntime."""
    from drnn.bench.exported import ExportCase, measure_case, usual_loops

    options = export_parser().parse_args(argv)
    refuse_place(Path(options.json))
    second = _second(options.first, options.second)
    sizes = tuple(options.batch_sizes or ([1] if options.form == "single" else [1, 8]))
    loops = usual_loops(options.first) if options.mean_loops is None else options.mean_loops
    case = ExportCase(options.first, second, loops, sizes, options.rounds, options.threads, options.form)
    result = measure_case(case, Path(options.folder))
    write_json(Path(options.json), result)
    for part, closed in zip(result["efficiency"], result["closed"], strict=True):
        print(
            f"batch {part['batch_size']}: efficiency {part['efficiency']:.3f} at {part['mean_loops']:.2f} loops; "
            f"gates closed / fixed part {closed['time_ratio']:.3f}"
        )


def _pair(first: str, second: str | None) -> tuple[str, str]:
    """Of a run's folder, the counterpart is that of its network."""
    if is_run(first):
        return first.rstrip("/"), second or _second(read_recipe(Path(first)).model, None)
    if "/" in first and not is_foreign(first):
        raise FileNotFoundError(f"there is no folder {first}; give a finished run, or a name of drnn models")
    return first, _second(first, second)


def _second(first: str, second: str | None) -> str:
    found = second or COUNTERPARTS.get(first)
    if found is None:
        if not is_foreign(first):
            model_spec(first)  # says so where there is no such network at all
        raise ValueError(f"{first} has no static counterpart here; name one with --second")
    return found


MEASURED = {"inference": inference, "export": export}
