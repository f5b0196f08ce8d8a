"""Puts off the import of PyTorch's compiler, a third of the start of a command that compiles nothing.

torchvision and transformers import it for one name each, at the top of their modules. Those names have stand-ins here
that ask the compiler when they are used; anything else that is asked of it imports it as ever.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from functools import partial, wraps
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from threading import RLock
from types import FunctionType, ModuleType
from typing import Any

_COMPILER = "torch._dynamo"
_CALLED_LATER = {
    f"{_COMPILER}.utils": ("is_compile_supported",),
    f"{_COMPILER}._trace_wrapped_higher_order_op": ("TransformGetItemToIndex",),
}
_MARKS = ("assume_constant_result", "allow_in_graph")
"""Decorators that mark a function for the compiler and give it back."""
_LOCK = RLock()


class _StandIn(ModuleType):
    """A module of the compiler until something is asked of it."""

    def __getattr__(self, name: str) -> Any:
        if name in _MARKS and self.__name__ == _COMPILER:
            return partial(self.__dict__["_finder"].mark_later, name)
        if name == "disable" and self.__name__ == _COMPILER:
            return self.__dict__["_finder"].disable_later
        if name in _CALLED_LATER.get(self.__name__, ()):

            def later(*args: Any, **kwargs: Any) -> Any:
                return getattr(self.__dict__["_finder"].real(self.__name__), name)(*args, **kwargs)

            return later
        # Python itself asks for such names, and hasattr for what may be absent.
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(self.__dict__["_finder"].real(self.__name__), name)


class _Imported(Loader):
    """Hands out a module that is imported already."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = sys.modules[spec.name]
        self.spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec


class _StandInFinder(MetaPathFinder):
    """Imports the compiler before any of its modules that has no stand-in."""

    def __init__(self) -> None:
        self.marked: list[tuple[str, Callable[..., Any]]] = []
        self.modules: dict[str, ModuleType] = {}
        for name in (_COMPILER, *_CALLED_LATER):
            module = _StandIn(name)
            module.__dict__["_finder"] = self
            self.modules[name] = module
        sys.modules.update(self.modules)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(f"{_COMPILER}."):
            return None
        self.real(_COMPILER)
        if fullname not in sys.modules:
            return None
        return ModuleSpec(fullname, _Imported())

    def mark_later(self, mark: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Stands in for a decorator."""
        self.marked.append((mark, function))
        return function

    def disable_later(self, function: Any = None, recursive: bool = True, **options: Any) -> Any:
        """Stands in for the decorator of functions that are not to be compiled."""
        if function is None:
            return partial(self.disable_later, recursive=recursive, **options)
        if not isinstance(function, FunctionType):
            return self.real(_COMPILER).disable(function, recursive, **options)

        compiled_around: list[Callable[..., Any]] = []

        @wraps(function)
        def disabled(*args: Any, **kwargs: Any) -> Any:
            if self in sys.meta_path:  # nothing is compiled while the compiler is not there
                return function(*args, **kwargs)
            if not compiled_around:
                compiled_around.append(self.real(_COMPILER).disable(function, recursive, **options))
            return compiled_around[0](*args, **kwargs)

        return disabled

    def real(self, name: str) -> ModuleType:
        """The module itself; imports the compiler the first time."""
        with _LOCK:
            if self in sys.meta_path:
                sys.meta_path.remove(self)
                for key, module in self.modules.items():
                    if sys.modules.get(key) is module:
                        del sys.modules[key]
                compiler = importlib.import_module(_COMPILER)
                for mark, function in self.marked:
                    getattr(compiler, mark)(function)
            return importlib.import_module(name)


def put_off_compiler() -> None:
    """Lets this process import PyTorch's compiler when something is asked of it, not when its name is met.

    Does nothing where PyTorch is imported already, or another version of it has no such modules.
    """
    if "torch" in sys.modules:
        return
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return
    folder = Path(found.origin).parent / "_dynamo"
    if not all((folder / f"{name.rpartition('.')[2]}.py").is_file() for name in _CALLED_LATER):
        return
    finder = _StandInFinder()
    finder.modules[_COMPILER].__path__ = [str(folder)]
    sys.meta_path.insert(0, finder)
