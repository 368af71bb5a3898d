"""Programs of torch.export: equal to eager after reloading, refused when wrong."""

import json
import logging
import os
from pathlib import Path
from zipfile import ZipFile

import pytest
import torch

import drnn
from drnn.export import program
from drnn.export.program import export_program, load_program
from drnn.weights import preprocessing_of

from .small import small_network


@pytest.mark.filterwarnings("ignore:The given buffer is not writable")  # torch 2.11, about its own loader
@pytest.mark.parametrize("form", ["branches", "dense"])
def test_a_reloaded_program_equals_eager(tmp_path, form):
    model = small_network()
    result = export_program(model, tmp_path / "net.pt2", form=form)
    assert result.difference < 1e-5
    network, x = load_program(tmp_path / "net.pt2"), torch.randn(3, 3, 11, 8)
    torch.testing.assert_close(network(x)[0], model(x), rtol=1e-4, atol=1e-5)
    assert [len(part) for part in network(x[:0])] == [0, 0, 0]
    assert network.preprocessing == preprocessing_of(model)
    assert [file.name for file in tmp_path.iterdir()] == ["net.pt2"]


def test_a_program_holds_no_paths_and_torch_says_nothing_of_it(tmp_path, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(
        logging.getLogger("torch._export.serde.serialize"), "handle", lambda entry: said.append(entry.msg)
    )
    export_program(drnn.create_model("dr_resnet_digits"), tmp_path / "net.pt2")
    with ZipFile(tmp_path / "net.pt2") as archive:
        held = b"".join(map(archive.read, archive.namelist()))
    for place in (Path(drnn.__file__).parent, Path(torch.__file__).parent, tmp_path):
        assert str(place).encode() not in held
    assert said == []


@pytest.mark.skipif("DRNN_AOT" not in os.environ, reason="a minute of C++ compiler; set DRNN_AOT=1 to run it")
def test_a_compiled_dense_program_equals_eager(tmp_path):
    result = export_program(small_network(), tmp_path / "net.pt2", form="dense", compiled=True)
    assert result.difference < 1e-5


def test_a_compiled_file_of_one_size_refuses_others(tmp_path, monkeypatch):
    """Without the compiler: what it would be given is saved as a program."""

    def compiled(made, path, facts):
        torch.export.save(made, path, extra_files={program.FACTS: json.dumps(facts)})

    def loaded(path):
        extra = {program.FACTS: ""}
        graph = torch.export.load(path, extra_files=extra).module(check_guards=False)
        facts = {name: fact for name, fact in json.loads(extra[program.FACTS]).items() if name not in forgotten}
        graph.get_metadata = lambda: {program.FACTS: json.dumps(facts)}
        return graph

    forgotten = []

    monkeypatch.setattr(program, "compile_program", compiled)
    monkeypatch.setattr(torch._inductor, "aoti_load_package", loaded)
    export_program(small_network(), tmp_path / "net.pt2", form="dense", any_size=False, compiled=True)
    network = load_program(tmp_path / "net.pt2", compiled=True)
    assert network(torch.zeros(1, 3, 8, 8))[0].shape == (1, 10)
    with pytest.raises(ValueError, match=r"give floats \(N, 3, 8, 8\)"):
        network(torch.zeros(1, 3, 9, 8))
    forgotten.append("any_size")
    with pytest.raises(ValueError, match="does not say what sizes it takes, as those of earlier versions; export it a"):
        load_program(tmp_path / "net.pt2", compiled=True)


class Deaf(torch.nn.Module):
    def __init__(self, graph):
        super().__init__()
        self.graph = graph

    def forward(self, images, thresholds):
        return self.graph(images, torch.zeros_like(thresholds))


class Broken(torch.nn.Module):
    def forward(self, images, thresholds):
        raise RuntimeError("Expected u23 <= 15 but received 32")  # as a compiled program with branches does


@pytest.mark.parametrize("failure", ["differs", "fails"])
def test_a_program_that_differs_or_fails_is_not_written(tmp_path, monkeypatch, failure):
    right = program.load_program

    def wrong(path, compiled):
        network = right(path, compiled)
        if failure == "fails":
            network.graph = Broken()
        else:
            network.graph = Deaf(network.graph)
        return network

    monkeypatch.setattr(program, "load_program", wrong)
    with pytest.raises(ValueError, match=r"differ from small|does not run"):
        export_program(small_network(), tmp_path / "net.pt2", form="dense")
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_none_of_ours_are_named(tmp_path):
    (tmp_path / "text.pt2").write_text("no")
    with pytest.raises(FileNotFoundError, match="drnn export makes one"):
        load_program(tmp_path / "missing.pt2")
    with pytest.raises(ValueError, match="damaged, or not made by drnn export"):
        load_program(tmp_path / "text.pt2")


@pytest.mark.filterwarnings("ignore:The given buffer is not writable")  # torch 2.11, about its own loader
def test_a_reloaded_program_is_a_module_like_others(tmp_path):
    model = small_network()
    export_program(model, tmp_path / "net.pt2", form="dense")
    network, x = load_program(tmp_path / "net.pt2"), torch.randn(2, 3, 11, 8)
    assert network.eval() is network
    assert torch.nn.Sequential(network).eval()(x)[0].shape == (2, 10)
    with pytest.raises(ValueError, match="train the network that it was made of"):
        network.train()
    with pytest.raises(TypeError, match="thresholds as ndarray received"):
        network(x, network.thresholds.numpy())
