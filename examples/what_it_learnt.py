"""What did the gates of a run learn? The arrays behind the report: ``python examples/what_it_learnt.py RUN``.

Takes about ten seconds for the digits run that ``make demo`` leaves in ``runs/digits``.
"""

import sys
from pathlib import Path

from drnn.analysis import answers_of
from drnn.analysis.agreement import rank_correlation
from drnn.analysis.loops import early_and_late, error_by_loops, execution_map, loop_histogram, loops_by_class
from drnn.training import evaluate
from drnn.training.checkpoint import load_run

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/digits")
run = load_run(folder)
result = evaluate(run.model, run.dataset.test_images, run.dataset.test_labels, run.normalize)
answers = answers_of(result, run.dataset.classes, run.model.target_rate)

histogram = loop_histogram(answers.loops, answers.slots, answers.target_rate)
expected = "" if answers.target_rate is None else f", {histogram['expected']:.2f} expected at the target rate"
print(f"{folder.name}: {histogram['mean']:.2f} loops an image{expected}")
for loops, images in enumerate(histogram["images"]):
    print(f"{loops:3} loops {images:5} images {'#' * int(60 * images / histogram['images'].max())}")

by_class = loops_by_class(answers.loops, answers.labels, len(answers.classes))
for name, mean, low, high in zip(answers.classes, by_class["mean"], by_class["low"], by_class["high"], strict=True):
    print(f"class {name:10} {mean:.2f} loops ({low:.2f} to {high:.2f})")

errors = error_by_loops(answers.loops, answers.wrong)
for loops, images, wrong in zip(errors["loops"], errors["images"], errors["wrong"], strict=True):
    print(f"images of {loops} loops: {wrong} of {images} wrong")

print("share of images that execute each loop, one block a line:")
print(execution_map(answers.executed, answers.arrived, answers.slots)["executed"].round(2))
early, late = early_and_late(answers.loops, answers.confidence, answers.wrong)["accuracy"]
print(f"accuracy of those that leave early {early:.2%}, of those that stay {late:.2%}")
print(f"rank correlation of loops and confidence {rank_correlation(answers.loops, answers.confidence):.2f}")
