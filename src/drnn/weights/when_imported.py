"""Do something once a package is imported, by whomever, without importing it."""

import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _Watch(MetaPathFinder):
    """Stands in front of the other finders until its package comes by, and lets them find it."""

    def __init__(self, package: str, action: Callable[[], None]):
        self.package, self.action = package, action

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The package's own specification, with the action behind its loading; None for all others."""
        if fullname != self.package:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return spec
        load = spec.loader.exec_module

        def load_then_act(module: ModuleType) -> None:
            load(module)
            self.action()

        spec.loader.exec_module = load_then_act
        return spec


def when_imported(package: str, action: Callable[[], None]) -> None:
    """Call ``action`` right after ``package`` was imported; now, where it already is."""
    if package in sys.modules:
        action()
    else:
        sys.meta_path.insert(0, _Watch(package, action))
