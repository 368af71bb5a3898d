"""The graph of a ``.pt2`` before torch reads it, which evaluates text in it: what `export_program` needs passes."""

import ast
import json
import re

import torch

WORDS = re.compile(r"-?[\w.]*", re.ASCII)  # names, numbers: every text that has no grammar of its own here
PROSE = ("stack_trace", "nn_module_stack", "torch_fn", "as_string", "torch_version")  # torch prints it
TARGET = re.compile(r"torch\.ops\.(aten|higher_order)\.(\w+)(?:\.(\w+))?", re.ASCII)
CONTROL_FLOW = ("cond", "while_loop")
ARITHMETIC = re.compile(r"_operator\.(add|sub|mul|truediv|floordiv|mod|neg|eq|ne|lt|le|gt|ge|and_|or_)")
SIZE_TEXT = re.compile(r"[\w ()',.+*/%<>=!-]*", re.ASCII)
SYMBOL = re.compile(r"[suf]\d+", re.ASCII)
SIZE_FUNCTIONS = re.compile(
    "Symbol|Integer|Add|Mul|Max|Min|Mod|PythonMod|FloorDiv|CeilDiv|CleanDiv|CeilToInt|FloorToInt|ceiling|floor|"
    "And|Or|Not|Eq|Ne|Lt|Le|Gt|Ge|Equality|Unequality|(Strict)?(LessThan|GreaterThan)"
)
SIZE_SYNTAX = (ast.Expression, ast.expr_context, ast.operator, ast.unaryop, ast.cmpop,
               ast.BinOp, ast.UnaryOp, ast.Compare, ast.keyword)  # fmt: skip
TREES = (None, "builtins.tuple", "builtins.list", "builtins.dict")
NO_KEYS = ("null", "[]", None)


def refuse_other_graphs(held: object, key: str = "") -> None:
    """Look at every text in the JSON of a graph.

    Guards pass unseen: torch would run them as Python, so a program must be loaded without them.

    Args:
        held: the JSON, read.
        key: what it lies under.

    Raises:
        ValueError: a text that is more than an operator of tensors, a formula of sizes, a name or prose.
    """
    if isinstance(held, dict):
        for inner, value in held.items():
            if not WORDS.fullmatch(inner):
                raise _refusal("key", inner)
            refuse_other_graphs(value, inner)
    elif isinstance(held, list):
        for value in held:
            refuse_other_graphs(value, key)
    elif isinstance(held, str) and not _is_plain(held, key):
        raise _refusal(key, held)


def _is_plain(text: str, key: str) -> bool:
    if key == "guards_code":
        return True
    if key in PROSE:
        return all(line.isprintable() for line in text.split("\n"))
    if key == "expr_str":
        return is_size(text)
    if key in ("target", "as_operator"):
        return is_operator(text)
    if key in ("in_spec", "out_spec"):
        return is_plain_tree(json.loads(text))
    return WORDS.fullmatch(text) is not None


def is_operator(target: str) -> bool:
    """Whether a graph may call it: arithmetic, control flow, and what computes tensors and opens no file."""
    if ARITHMETIC.fullmatch(target):
        return True
    found = TARGET.fullmatch(target)
    if found is None:
        return False
    room, name, overload = found.groups()
    if room == "higher_order":
        return name in CONTROL_FLOW and overload is None
    operator = getattr(getattr(torch.ops.aten, name, None), overload or "", None)
    if not isinstance(operator, torch._ops.OpOverload):
        return False
    return all(argument.name != "filename" for argument in operator._schema.arguments)


def is_size(text: str) -> bool:
    """Whether it is a formula of numbers and sizes, as ``Add(Symbol('s14', integer=True), Integer(-1))``."""
    return SIZE_TEXT.fullmatch(text) is not None and _is_size(ast.parse(text, mode="eval"))


def _is_size(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int | float)
    if isinstance(node, ast.Name):
        return SYMBOL.fullmatch(node.id) is not None
    parts = list(ast.iter_child_nodes(node))
    if isinstance(node, ast.Call):
        name, *parts = parts
        if not isinstance(name, ast.Name) or not SIZE_FUNCTIONS.fullmatch(name.id):
            return False
        if name.id == "Symbol":
            symbol, *parts = parts
            if not isinstance(symbol, ast.Constant) or not SYMBOL.fullmatch(str(symbol.value)):
                return False
    elif not isinstance(node, SIZE_SYNTAX) or isinstance(node, ast.Pow | ast.LShift):
        return False
    return all(map(_is_size, parts))


def is_plain_tree(tree: object) -> bool:
    """Whether arguments lie in tuples, lists and dicts without keys; other containers import modules."""
    if isinstance(tree, list):
        return all(map(is_plain_tree, tree))
    if isinstance(tree, dict):
        return (
            tree.keys() == {"type", "context", "children_spec"}
            and tree["type"] in TREES
            and tree["context"] in NO_KEYS
            and is_plain_tree(tree["children_spec"])
        )
    return isinstance(tree, int)


def _refusal(key: str, text: str) -> ValueError:
    return ValueError(f"its graph holds {key} {text[:60]!r}, which may run code, and a graph of tensors need not")
