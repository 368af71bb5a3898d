"""Recipes as fields: read from YAML, checked by their types, put over those of another recipe."""

import re
from collections.abc import Hashable
from dataclasses import fields, replace
from difflib import get_close_matches
from inspect import formatannotation
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import yaml

from drnn.training.milestones import fit_in, in_proportion, refuse_late
from drnn.training.recipe import Recipe


class _Loader(yaml.SafeLoader):
    """Numbers such as 5e-4, which YAML 1.1 takes for text, are numbers, and no key stands twice in one mapping."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """As SafeLoader, which takes the last of two."""
        pairs = node.value if isinstance(node, yaml.MappingNode) else []  # of anything else SafeLoader complains
        keys = [str(key.value) for key, _ in pairs]
        for place, (key, _) in enumerate(pairs):
            if keys[place] in keys[:place]:
                raise yaml.YAMLError(f"{keys[place]} stands there twice, again in line {key.start_mark.line + 1}")
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Text that `_Loader` would take for a number is quoted."""


FLOAT = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$")
for kind in (_Loader, _Dumper):
    kind.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+.0123456789"))


def recipe_text(values: dict) -> str:
    """The fields of a recipe as a file that `read_fields` reads."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False)


def read_fields(path: Path) -> dict:
    """The fields in a recipe's file, as `recipe_from_dict` takes them.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that is no YAML, or holds no fields.
    """
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged or no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds a {type(values).__name__}; a recipe holds lines of 'field: value'")
    return values


def recipe_from_dict(values: dict, base: Recipe | None = None) -> Recipe:
    """Fields over those of ``base``.

    Raises:
        ValueError: a field that no recipe has, or a value of a wrong type or out of range.
    """
    kinds = {field.name: field.type for field in fields(Recipe)}
    for key, value in values.items():
        if key not in kinds:
            near = get_close_matches(str(key), kinds, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it may have {', '.join(kinds)}"
            raise ValueError(f"a recipe has no field {key!r}; {hint}")
        if not _is_a(value, kinds[key]):
            raise ValueError(
                f"recipe field {key} = {value!r} is no {formatannotation(kinds[key])}; see drnn train --help"
            )
    base = base or Recipe()
    asked = {**base.to_dict(), **values}
    if asked["schedule"] == "step" and tuple(asked["milestones"]) == base.milestones and asked["epochs"] > 0:
        scaled = sorted(in_proportion(base.milestones, asked["epochs"], of=base.epochs))
        instead = f"{scaled}, the same shares of it" if fit_in(scaled, asked["epochs"]) else "earlier ones"
        refuse_late(base.milestones, asked["epochs"], instead)
    return replace(base, **values)


def _is_a(value: object, kind: Any) -> bool:
    """Whether a value has a field's type; a whole number is a float too, a list a tuple, and a bool no number."""
    if get_origin(kind) in (Union, UnionType):
        return any(_is_a(value, part) for part in get_args(kind))
    if get_origin(kind) is tuple:
        return isinstance(value, list | tuple) and all(_is_a(item, get_args(kind)[0]) for item in value)
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)
