"""What gates can be taught has a limit, which is named."""

import re

import pytest
import torch

from drnn import create_model
from drnn.bench.scripts import script_by_total
from drnn.bench.subjects import build, costs_of
from drnn.bench.taught_gates import teach
from drnn.cli.main import main


def test_more_answers_than_a_gate_can_learn_are_refused_by_the_limit():
    name, generator = "dr_resnet54_cifar", torch.Generator().manual_seed(0)
    images = torch.randn(16, *create_model(name).input_size, generator=generator)
    script = script_by_total(costs_of(name).slots, 12, 1.5, 16, 0.5)
    with pytest.raises(ValueError, match=r"16 images received .* 12 times .*channels \+ 1") as caught:
        teach(build(name, "plain", 0), script, images)
    said = re.findall(r"layer\d\.\d\.gate (\d+) of (17|33|65)\b", str(caught.value))
    assert said
    assert all(int(answers) > int(most) for answers, most in said)
    few = type(script)(script.loops[:4])
    teach(model := build(name, "plain", 0), few, images[:4])
    assert torch.equal(model.forward_with_gates(images[:4])[1].executed.sum(1), few.totals)


def test_the_command_says_so_without_a_traceback(tmp_path, capsys):
    arguments = ["--first", "dr_resnet54_cifar", "--mean_loops", "12", "--rounds", "1", "--threads", "1"]
    assert main(["bench", "export", *arguments, "--folder", str(tmp_path)]) == 2
    assert "fewer loops" in capsys.readouterr().err
