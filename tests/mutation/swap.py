"""Put a mutant in the place of a module's code: in functions that are already there, or at the import."""

import ast
import gc
import importlib.util
import inspect
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

from tests.mutation.mutants import mutate


@dataclass(frozen=True)
class Subject:
    """A module, and the test files that ought to notice what is changed in it."""

    module: str
    tests: Sequence[str]

    @property
    def path(self) -> Path:
        """Return where the module's text is."""
        spec = importlib.util.find_spec(self.module)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(self.module)
        return Path(spec.origin)

    @property
    def source(self) -> str:
        """Return the module's text."""
        return self.path.read_text()

    def code(self, index: int | None = None) -> CodeType:
        """Return the module's code, with the mutant of that index applied."""
        tree = ast.parse(self.source) if index is None else mutate(self.source, index)
        return compile(tree, str(self.path), "exec", dont_inherit=True)


def functions_of(path: Path) -> dict[CodeType, list[FunctionType]]:
    """Return every function there is whose text is in a file, by its code."""
    found: dict[CodeType, list[FunctionType]] = {}
    for thing in gc.get_objects():
        if type(thing) is FunctionType and thing.__code__.co_filename == str(path):
            found.setdefault(thing.__code__, []).append(thing)
    return found


def changed_functions(before: CodeType, after: CodeType) -> dict[CodeType, CodeType] | None:
    """Return which functions of a module differ, or None if something differs that runs when it is imported."""
    if before.co_code != after.co_code or _own_constants(before) != _own_constants(after):
        return None
    changed: dict[CodeType, CodeType] = {}
    for old, new in zip(_nested(before), _nested(after), strict=True):
        if old == new:
            continue
        if old.co_flags & inspect.CO_OPTIMIZED:
            changed[old] = new
            continue
        inside = changed_functions(old, new)
        if inside is None:
            return None
        changed |= inside
    return changed


def _nested(code: CodeType) -> list[CodeType]:
    return [constant for constant in code.co_consts if isinstance(constant, CodeType)]


def _own_constants(code: CodeType) -> list[object]:
    own = [constant for constant in code.co_consts if not isinstance(constant, CodeType)]
    return [*((type(constant), constant) for constant in own), len(_nested(code)), code.co_names]


class _Finder(MetaPathFinder):
    """Finds one module, and gives it other code."""

    def __init__(self, module: str, code: CodeType) -> None:
        self._module, self._code = module, code

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the usual place of the module with another loader, and nothing for any other."""
        if fullname != self._module:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = _Loader(fullname, spec.origin, self._code)
        return spec


class _Loader(SourceFileLoader):
    """Loads other code than the file's."""

    def __init__(self, name: str, path: str, code: CodeType) -> None:
        super().__init__(name, path)
        self._code = code

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002  the signature is the import system's
        """Return that code."""
        return self._code


def swap_at_import(module: str, code: CodeType) -> None:
    """Let the module have that code when it is imported."""
    sys.meta_path.insert(0, _Finder(module, code))
