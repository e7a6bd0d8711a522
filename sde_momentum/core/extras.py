"""Optional packages: which extra of this one brings each, and an error that says so in one line before any work."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import lazy_loader

EXTRAS = {
    "matplotlib": "plot",
    "sympy": "symbolic",
    "mpmath": "symbolic",
    "torch": "torch",
    "jinja2": "validation",
    "sklearn": "validation",
    "PIL": "validation",
    "dask": "validation",
    "distributed": "validation",
    "lightning": "integrations",
    "transformers": "integrations",
    "accelerate": "integrations",
    "tensorboard": "integrations",
}
"""Module -> the smallest extra of `sde-momentum` that installs it, as in pyproject.toml."""


class MissingPackageError(ModuleNotFoundError):
    """One line: what needs which packages, and the command that installs them.

    The command line prints it and exits with status 1; in Python it is a ModuleNotFoundError, and `name` the first module.
    """

    def __init__(self, what: str, *modules: str, extra: str | None = None) -> None:
        extras = extra or ",".join(dict.fromkeys(EXTRAS[module] for module in modules if module in EXTRAS))
        if extras:
            how = f"pip install 'sde-momentum[{extras}]', or in a copy of the source pip install -e '.[{extras}]'"
        else:
            how = f"pip install {' '.join(modules)}"
        missing = f"{', '.join(modules)}, which {'is' if len(modules) == 1 else 'are'} not installed"
        super().__init__(f"{what} needs {missing}: {how}", name=modules[0])
        self.what, self.modules, self.extra = what, modules, extra

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by its parts: it can be raised in another process."""
        return partial(type(self), extra=self.extra), (self.what, *self.modules)


def require(what: str, *modules: str, extra: str | None = None) -> None:
    """Raise MissingPackageError for those of `modules` that are not installed; nothing is imported. `what` needs them.

    `extra`: the one to install; None: the smallest of each.

    >>> require("a sum", "math")
    >>> require("a film", "no_such_module")
    Traceback (most recent call last):
        ...
    sde_momentum.core.extras.MissingPackageError: a film needs no_such_module, which is not installed: pip install no_such_module
    """
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise MissingPackageError(what, *missing, extra=extra)


def explained(what: str, error: ModuleNotFoundError) -> ModuleNotFoundError:
    """A MissingPackageError in place of an error of the import system that names an optional package; else the error itself."""
    module = (error.name or "").partition(".")[0]
    return error if isinstance(error, MissingPackageError) or module not in EXTRAS else MissingPackageError(what, module)


def attach(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`lazy_loader.attach_stub`, whose names raise MissingPackageError where an optional package is not installed."""
    load, directory, names = lazy_loader.attach_stub(package, file)

    def get(name: str) -> Any:
        try:
            return load(name)
        except ModuleNotFoundError as error:
            raise explained(f"{package}.{name}", error) from error

    return get, directory, names
