"""Shorter starts of the commands: what the libraries import and no command uses is put off until it is asked for.

Lightning imports `torchmetrics` for its class `Metric` alone, and `torchmetrics` then imports all its metrics with
torchvision, the models of transformers and scipy: three quarters of the time before a command begins.
"""

import gc
import importlib
import importlib.util
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from threading import RLock
from types import ModuleType
from typing import Any

_PACKAGE = "torchmetrics"
_FEW = {
    "Metric": "torchmetrics.metric",
    "MetricCollection": "torchmetrics.collections",
    "MeanMetric": "torchmetrics.aggregation",
    "__version__": "torchmetrics.__about__",
}
_LOCK = RLock()


class _Package(ModuleType):
    """A package whose own code runs when a name is asked for that is not among the few."""

    def __getattr__(self, name: str) -> Any:
        with _LOCK:
            if name in self.__dict__:
                return self.__dict__[name]
            if name == "_logger":  # asked for while the few are imported; the package's code gives it its handler
                return logging.getLogger(_PACKAGE)
            if name in _FEW and "_whole" not in self.__dict__:
                try:
                    importlib.import_module("torchmetrics.utilities")  # it and the metrics import one another
                    found = getattr(importlib.import_module(_FEW[name]), name)
                except (ImportError, AttributeError):  # another version: the package knows better
                    return self._ask_all(name)
                self.__dict__[name] = found
                return found
            # Python itself asks for names such as __path__ before they are set, and hasattr for what may be absent.
            if name.startswith("__") and name != "__all__":
                raise AttributeError(f"module {_PACKAGE!r} has no attribute {name!r}")
            return self._ask_all(name)

    def __dir__(self) -> list[str]:
        self._ask_all("__all__")
        return sorted(self.__dict__)

    def _ask_all(self, name: str) -> Any:
        if "_whole" not in self.__dict__:
            self.__dict__["_whole"] = True  # first, for what its code asks of itself
            try:
                self.__dict__["_loader"].exec_module(self)
            except BaseException:
                del self.__dict__["_whole"]
                raise
        try:
            return self.__dict__[name]
        except KeyError:
            raise AttributeError(f"module {_PACKAGE!r} has no attribute {name!r}") from None


class _Later(Loader):
    """Makes the package and leaves its code for later."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = _Package(spec.name)
        module.__dict__["_loader"] = self.loader
        return module

    def exec_module(self, module: ModuleType) -> None:
        pass

    def __getattr__(self, name: str) -> Any:  # resources and source code, for those who look for them
        return getattr(self.loader, name)


class _LateFinder(MetaPathFinder):
    """Finds the one package, once."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _PACKAGE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(_PACKAGE)
        if spec is not None and spec.loader is not None:
            spec.loader = _Later(spec.loader)
        return spec


def put_off_torchmetrics() -> None:
    """Lets `import torchmetrics` in this process import little, and the rest when any other of its names is asked for.

    Does nothing where it is imported already.
    """
    if _PACKAGE not in sys.modules and not any(isinstance(finder, _LateFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _LateFinder())


@contextmanager
def importing() -> Iterator[None]:
    """For the block in which a command imports: no search for garbage, of which imports leave little.

    Where PyTorch comes with the block, all that there is then stays out of later searches as well: it stays anyway.
    """
    enabled, fresh = gc.isenabled(), "torch" not in sys.modules
    gc.disable()
    try:
        yield
    finally:
        if fresh and "torch" in sys.modules:
            gc.freeze()
        if enabled:
            gc.enable()
