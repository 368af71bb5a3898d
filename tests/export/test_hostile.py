"""A ``.pt2`` of somebody else: what would run while it is read is refused, and does not run."""

import json
import os
import pickle
import re
import zipfile

import pytest
import torch

from drnn.export.files import refuse_code, tensors_only
from drnn.export.plain_graph import is_operator, is_plain_tree, is_size, refuse_other_graphs
from drnn.export.program import export_program, load_program

from .small import small_network

pytestmark = pytest.mark.filterwarnings("ignore:The given buffer is not writable")  # torch 2.11, about its own loader
REFUSED = "damaged, or not made by drnn export: ValueError it"
GRAPH, CONSTANTS = "net/models/model.json", "net/data/constants/model_constants_config.json"


@pytest.fixture(scope="module")
def right(tmp_path_factory):
    path = tmp_path_factory.mktemp("right") / "net.pt2"
    export_program(small_network(), path, form="dense")
    return path


@pytest.fixture
def evil(tmp_path):
    return tmp_path / "evil.pt2"


@pytest.fixture
def mark(tmp_path):
    """What hostile code makes."""
    return tmp_path / "it-ran"


class Hostile:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def rewrite(right, evil, change, compression=zipfile.ZIP_STORED):
    """A copy with ``change(parts)`` applied to its names and contents."""
    with zipfile.ZipFile(right) as source:
        parts = {name: source.read(name) for name in source.namelist()}
    change(parts)
    with zipfile.ZipFile(evil, "w", compression) as target:
        for name, content in parts.items():
            target.writestr(name, content)


@pytest.mark.parametrize(
    "place", ["data/sample_inputs/model.pt", "data/weights/weight_0", "data/constants/opaque_obj_0", "models/x/code.py"]
)
def test_objects_are_refused(right, evil, mark, tmp_path, place):
    torch.save(Hostile(mark), tmp_path / "hostile")
    rewrite(right, evil, lambda parts: parts.update({f"net/{place}": (tmp_path / "hostile").read_bytes()}))
    with pytest.raises(ValueError, match="damaged, or not made by drnn export"):
        load_program(evil)
    assert not mark.exists()
    load_program(right)
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


def test_an_object_in_a_folder_that_is_called_weights_is_refused(right, evil, mark):
    place = "opaque_obj_0/weights/weight_0"

    def change(parts):
        config = json.loads(parts[CONSTANTS])
        first = next(iter(config["config"].values()))
        config["config"]["evil"] = {**first, "path_name": place, "use_pickle": True, "tensor_meta": None}
        parts[CONSTANTS] = json.dumps(config).encode()
        parts[f"net/data/constants/{place}"] = pickle.dumps(Hostile(mark))

    rewrite(right, evil, change)
    with pytest.raises(ValueError, match=REFUSED):
        load_program(evil)
    assert not mark.exists()


@pytest.mark.parametrize("formula", ["{code}", "Add(Symbol('s1'), {code})", "Symbol(str({code}))", "(lambda: {code})"])
def test_code_for_a_formula_of_sizes_is_refused(right, evil, mark, formula):
    code = formula.format(code=f"__import__('os').mkdir('{mark}')")

    def change(parts):
        graph = parts[GRAPH].decode()
        found = re.search(r'"expr_str": "([^"]*)"', graph)
        parts[GRAPH] = (graph[: found.start(1)] + code + graph[found.end(1) :]).encode()

    rewrite(right, evil, change)
    with pytest.raises(ValueError, match=REFUSED):
        load_program(evil)
    assert not mark.exists()


def test_code_for_a_guard_does_not_run(right, evil, mark):
    def change(parts):
        graph = json.loads(parts[GRAPH])
        graph["guards_code"] = [f"True)\n  pass\n__import__('os').mkdir('{mark}')\ndef __(*a, **k):\n  (True"]
        parts[GRAPH] = json.dumps(graph).encode()

    rewrite(right, evil, change)
    load_program(evil)(torch.zeros(1, 3, 8, 8))
    assert not mark.exists()


@pytest.mark.parametrize(
    ("found", "put"),
    [
        ('"images"', '"images=__import__(chr(111))"'),
        ('"torch.ops.aten.conv2d.default"', '"torch.load"'),
        ("builtins.dict", "collections.defaultdict"),
        ('"metadata": {"', r'"metadata": {"stack_trace": "\r import os", "'),  # a comment in the code that torch makes
    ],
    ids=["name", "operator", "container", "comment"],
)
def test_other_text_that_torch_would_run_is_refused(right, evil, found, put):
    def change(parts):
        assert found.encode() in parts[GRAPH]
        parts[GRAPH] = parts[GRAPH].replace(found.encode(), put.encode())

    rewrite(right, evil, change)
    with pytest.raises(ValueError, match=r"its graph holds .* which may run code"):
        refuse_code(evil)


def test_only_what_computes_tensors_is_an_operator():
    assert all(map(is_operator, ("_operator.mul", "torch.ops.aten.__and__.Tensor", "torch.ops.higher_order.cond")))
    for target in ("_operator.methodcaller", "torch.ops.aten.from_file.default", "torch.ops.load_library", "os.system",
                   "torch.ops.aten.__class__.__init__", "torch.ops.higher_order.run_with_rng_state"):  # fmt: skip
        assert not is_operator(target)


def test_formulas_and_containers_are_plain():
    assert is_size("Add(Mul(Integer(2), Symbol('s14', positive=True, integer=True)), FloorDiv(u0, Integer(-3)))")
    for text in ("s1.real", "s1[0]", "9**9**9", "eval(s1)", "Symbol('x')", "(s1, s2)", "'s1'", "1 if s1 else 2"):
        assert not is_size(text)
    leaf = {"type": None, "context": None, "children_spec": []}
    assert is_plain_tree([1, {"type": "builtins.tuple", "context": "null", "children_spec": [leaf]}])
    assert not is_plain_tree([1, {**leaf, "context": '["key"]'}])
    assert not is_plain_tree("text")


def test_a_tensor_that_is_called_as_the_guards_are_hides_nothing():
    with pytest.raises(ValueError, match=r"its graph holds expr_str 'eval\(s1\)'"):
        refuse_other_graphs({"tensor_values": {"guards_code": {"sizes": [{"as_expr": {"expr_str": "eval(s1)"}}]}}})
    refuse_other_graphs({"guards_code": ["L['images'].size()[2] != 1"]})


def test_bombs_are_refused(right, evil):
    rewrite(right, evil, lambda parts: None, zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="it is compressed"):
        load_program(evil)
    with zipfile.ZipFile(right) as source, zipfile.ZipFile(evil, "w") as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
        largest = max(target.filelist, key=lambda part: part.file_size)
        for number in range(100, 140):
            twin = zipfile.ZipInfo(f"net/data/weights/weight_{number}")
            twin.file_size = twin.compress_size = largest.file_size
            twin.CRC, twin.header_offset = largest.CRC, largest.header_offset
            target.filelist.append(twin)
            target._didModify = True
    with pytest.raises(ValueError, match=r"its parts overlap|damaged, or not made"):
        load_program(evil)


@pytest.mark.parametrize("value", [None, "1"])
def test_settings_that_let_torch_run_code_are_set_aside(right, tmp_path, mark, monkeypatch, value):
    names = ("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    if value is not None:
        monkeypatch.setenv(names[1], value)
    load_program(right)
    torch.save(Hostile(mark), tmp_path / "hostile.pt")
    with tensors_only(), pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "hostile.pt", weights_only=True)
    assert [os.environ.get(name) for name in names] == [None, value]
    assert not mark.exists()
