"""What cannot be analysed is refused before any work."""

import json

import pytest

from drnn.analysis import Options, analyse_run
from drnn.analysis.gradients import Plan
from drnn.analysis.subject import load_others, load_subject
from drnn.data import load_dataset
from drnn.training import find_recipe
from drnn.training.network import build_model, save_weights
from drnn.training.run_folder import read_recipe


@pytest.fixture(autouse=True)
def no_work(monkeypatch):
    monkeypatch.setattr("drnn.analysis.subject.Subject.ask", lambda *_: pytest.fail("asked before all was checked"))


def test_what_cannot_be_analysed_is_refused_before_any_work(run):
    with pytest.raises(ValueError, match="net received twice"):
        analyse_run(run, [run])
    with pytest.raises(FileNotFoundError, match="nowhere has no"):
        analyse_run(run, [], Options(logs=(run.parent / "nowhere",)))
    with pytest.raises(ValueError, match="images -1 and course_epochs 0 received"):
        Options(images=-1)
    with pytest.raises(ValueError, match="measure_every 0 received"):
        Plan(find_recipe("digits"), 0)


def of_another_network(copied, **changes):
    """The run again as one of another network, with weights of that."""
    folder = copied(**changes)
    save_weights(folder / "model.safetensors", build_model(read_recipe(folder), load_dataset("digits")))
    return folder


def test_other_runs_are_checked_before_any_work(run, copied):
    with pytest.raises(ValueError, match="batch_size 99 received for 50 training images"):
        analyse_run(copied(train_images=50), [], Options(course_epochs=1))
    other = copied(seed=1, name="other", threads=2, lr=0.5)  # another recipe for the same network is none of them
    (other / "summary.json").write_text("")
    with pytest.raises(ValueError, match=r"copied.summary.json is damaged"):
        analyse_run(run, [other])
    (other / "summary.json").write_text(json.dumps({}))
    assert len(load_others([other], *load_subject(run, Options()), Options())) == 1
    with pytest.raises(ValueError, match="copied was tested on other images"):
        analyse_run(run, [copied(held_out=0)], Options(images=100))  # as many of each
    other = of_another_network(copied, model="resnet_digits", target_rate=None)
    with pytest.raises(ValueError, match=r"copied is a run of resnet_digits; give runs of dr_resnet_digits"):
        analyse_run(run, [other])


def test_gated_networks_that_do_not_loop_are_refused(copied):
    with pytest.raises(ValueError, match="has no block that loops"):
        analyse_run(of_another_network(copied, model="aig_resnet110_cifar"))
