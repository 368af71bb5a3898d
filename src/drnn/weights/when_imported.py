"""Do something once a package is imported, by whomever, without importing it."""

import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _Watch(MetaPathFinder):
    """Stands in front of the other finders until its package is loaded, and lets them find it.

    To be looked for is not yet to be loaded: many look whether a package is there and never import it.
    """

    def __init__(self, package: str, action: Callable[[], None]):
        self.package, self.action = package, action

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The package's own specification, with the action behind its loading; None for all others."""
        if fullname != self.package:
            return None
        spec = self._found_behind(fullname, path, target)
        if spec is None or spec.loader is None:
            return spec
        load = spec.loader.exec_module

        def load_then_act(module: ModuleType) -> None:
            load(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
                self.action()

        spec.loader.exec_module = load_then_act
        return spec

    def _found_behind(self, *asked) -> ModuleSpec | None:
        """What the finders behind this one find; those before it were asked already."""
        behind = sys.meta_path[sys.meta_path.index(self) + 1 :] if self in sys.meta_path else sys.meta_path
        return next((spec for finder in behind if (spec := finder.find_spec(*asked)) is not None), None)


def when_imported(package: str, action: Callable[[], None]) -> None:
    """Call ``action`` right after ``package`` was imported; now, where it already is."""
    if package in sys.modules:
        action()
    else:
        sys.meta_path.insert(0, _Watch(package, action))
