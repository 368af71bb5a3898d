"""Many measurements into one result file, in pieces: what is there is not measured again."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch

from drnn.bench.measure import measure
from drnn.bench.subjects import Case, is_run
from drnn.provenance import environment
from drnn.storage import refuse_place, write_json
from drnn.weights.files import fingerprint

RATES = (1.0, 0.8, 0.6, 0.4, 0.2, 0.0)
FIELDS = {
    *("threads", "first", "second", "form", "batch_size", "rounds", "rate", "seed", "device", "latency_s"),
    *("latency_p95_s", "images_per_s", "ratio", "peak_bytes", "mean_loops", "std_loops", "max_loops", "macs_mean"),
    *("static_macs", "fixed_macs", "efficiency", "ends_s", "limit", "environment"),
}  # that tables and pictures read


def cases_for(
    pair: tuple[str, str],
    batch_sizes: list[int],
    forms: list[str],
    rounds: int,
    line: bool,
    seed: int,
    device: str,
    data_root: str | None = None,
) -> list[Case]:
    """Every form at every batch size, with the pair's own loops, or with ``line`` at rates from 1 to 0.

    Over the rates the time of one network should fall in a straight line. "captured" is for batches of one image: where
    that size is among others, they are left out of it.

    Raises:
        ValueError: no forms or batch sizes, or one that cannot be measured.
    """
    if not batch_sizes or not forms:
        raise ValueError(f"batch sizes {batch_sizes} and forms {forms} received; give one or more of each")
    rates = RATES if line else (None,)
    own = {"captured": [1]} if 1 in batch_sizes else {}
    sizes = [(form, size) for form in forms for size in own.get(form, batch_sizes)]
    cases = (Case(*pair, form, size, rounds, rate, seed, device, data_root) for form, size in sizes for rate in rates)
    return list(dict.fromkeys(cases))


def run_cases(
    cases: list[Case], threads: int, file: Path, limit: int | None = None, renew: bool = False
) -> Iterator[dict]:
    """Measure what ``file`` does not hold yet, writing it after each; yields the new entries.

    Args:
        cases: what to measure.
        threads: CPU threads.
        file: JSON; made where it is missing.
        limit: stop after so many new measurements; None for all.
        renew: measure again, too, what another commit or another GPU measured; the new entry takes its place.

    Raises:
        ValueError: a damaged file, no threads, a limit below 0, or a case that cannot be measured.
        OSError: a file that cannot be written; nothing was measured.
    """
    refuse_settings([threads], limit)
    refuse_place(file)
    known = {_key(entry): entry for entry in read_entries(file)}

    def is_missing(case: Case) -> bool:
        entry = known.get(_key(_wanted(case, threads)))
        return entry is None or (renew and not _is_current(entry))

    missing = [case for case in cases if is_missing(case)][:limit]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for case in missing:
            new = {"threads": threads, **measure(case), "environment": environment(case.device)}
            known.pop(_key(new), None)  # a new one stands last
            known[_key(new)] = new
            write_json(file, {"entries": list(known.values())})
            yield new
    finally:
        torch.set_num_threads(before)


def refuse_settings(threads: list[int], limit: int | None) -> None:
    """Before anything is measured.

    Raises:
        ValueError: none or less than one thread, or a limit below 0.
    """
    if not threads or min(threads) < 1:
        raise ValueError(f"threads {threads} received; each is 1 or more")
    if limit is not None and limit < 0:
        raise ValueError(f"limit {limit} received; it is 0 or more new measurements, or left out for all")


def read_entries(file: Path) -> list[dict]:
    """The measurements of a result file; none where there is no file.

    Raises:
        ValueError: a damaged file.
    """
    if not file.is_file():
        return []
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))["entries"]
        if lacking := sorted({name for entry in entries for name in FIELDS - entry.keys()}):
            raise ValueError(f"entries without {', '.join(lacking[:3])}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} is no result file of drnn bench ({error!r}); choose another --json") from error
    return entries


def _wanted(case: Case, threads: int) -> dict:
    weights = fingerprint(Path(case.first)) if is_run(case.first) else None
    return {**asdict(case), "threads": threads, "weights_sha256": weights}


def _is_current(entry: dict) -> bool:
    """Whether it was measured by this very code on this very kind of GPU."""
    then, now = entry["environment"], environment(entry["device"])
    return all(then.get(name) == now[name] for name in ("commit", "gpu"))


def _key(values: dict) -> tuple:
    kept = ("threads", "first", "second", "form", "batch_size", "rate", "seed", "device", "weights_sha256")
    return tuple(values.get(name) for name in kept)


def straight_line(entries: list[dict]) -> dict:
    """Least squares of our time against executed multiply-adds over entries of one network, form and batch size.

    Time is in units of the static network's, as the pairs of each entry give it: a machine that changes its pace
    between two entries would bend a line of seconds.

    Returns:
        ``r2``, and ``rest``: seconds at rate 0 over the seconds of the network without its recursive blocks, None where
        that rate was not measured.

    Raises:
        ValueError: fewer than three rates.
    """
    if len(entries) < 3:
        raise ValueError(f"{len(entries)} rates received; a line needs three or more")
    macs = torch.tensor([entry["macs_mean"] for entry in entries], dtype=torch.float64)
    times = torch.tensor([entry["ratio"] for entry in entries], dtype=torch.float64)
    centred = macs - macs.mean()
    slope = (centred * times).sum() / centred.square().sum()
    missed = times - times.mean() - slope * centred
    r2 = 1 - missed.square().sum() / (times - times.mean()).square().sum()
    rest = next((entry["latency_s"][0] / entry["ends_s"][0] for entry in entries if entry["rate"] == 0), None)
    return {"r2": float(r2), "rest": rest, "points": len(entries)}
