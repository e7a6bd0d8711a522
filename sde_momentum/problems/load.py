"""A problem from a user's file, `FILE.py:NAME`: for the command line."""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from .problem import Array, Problem, as_problem

_KINDS = "a Problem, a SymbolicModel, a function of w with attributes targets and n_parameters, or a function without arguments \
that returns one of them, or (problem, start)"
_ATTRIBUTES = ("targets", "n_parameters", "start", "batched", "device", "jacobian", "contract_hessians", "test_error")


def load_problem(text: str, argument: str = "--model") -> tuple[Problem, Array | None]:
    """The problem that NAME of FILE.py is or returns, and the start that stands with it, (N,), or None.

    The file is run as a module whose neighbours it can import. NAME is one of

    - a Problem, such as `Problem.from_function(...)`, or a SymbolicModel
    - a function of w, with other arguments of `Problem.from_function` as attributes: `f.targets = ...`, `f.n_parameters = ...`
    - a function without arguments, which returns one of these
    - a pair (one of these, start)

    A start of None leaves the choice to the problem, `problem.interpolating_start()`.

    Args:
        text: "FILE.py:NAME"
        argument: named in errors

    Raises:
        InputError: in one line, for a file or name that there is not, an error in the file (with its line), or another kind.
    """
    file, colon, name = text.rpartition(":")
    if not colon or not file.endswith(".py") or not name.isidentifier():
        raise InputError(argument, text, "FILE.py:NAME, the name of a problem or a function in a Python file")
    path = Path(file)
    if not path.is_file():
        raise InputError(argument, text, f"a file that exists: there is no {file}")
    names = _run(path, argument)
    if name not in names:
        known = ", ".join(key for key in names if not key.startswith("_") and not inspect.ismodule(names[key]))
        raise InputError(argument, text, f"a name in {path.name}: {known or 'it defines none'}")
    given, short = names[name], f"{path.name}:{name}"  # what is given is cut to a line
    if _needs_nothing(given):
        try:
            given = given()
        except InputError as error:
            raise _inner(error, short, argument) from error
        except (Exception, SystemExit) as error:
            raise InputError(argument, f"{short}, which fails: {_where(error, path)}", "a function that runs") from error
    start: Any = None
    if isinstance(given, tuple) and len(given) == 2:
        given, start = given
    problem = _as_problem(given, short, argument)
    return problem, None if start is None else problem.check_point(start, f"{argument} {short}: start")


def _run(path: Path, argument: str) -> dict[str, Any]:
    """The names of the file, run as a module of its own."""
    label = f"sde_momentum_model_{path.stem}"
    spec = importlib.util.spec_from_file_location(label, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[label] = module  # where dataclasses look for it
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[label]
        raise InputError(argument, f"{path.name}, which fails: {_where(error, path)}", "a Python file that runs") from error
    finally:
        sys.path.pop(0)
    return vars(module)


def _where(error: BaseException, path: Path) -> str:
    """An error, with the line of the file at which it came up."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).resolve() == path.resolve()]
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).resolve() == path.resolve():
        lines, message = [error.lineno], error.msg
    else:
        message = (str(error).strip() or "no message").splitlines()[0]
    at = f"line {lines[-1]}, " if lines else ""
    return f"{at}{type(error).__name__}: {message}"


def _needs_nothing(given: Any) -> bool:
    """Whether it is a function or class that is called without arguments."""
    if not (inspect.isfunction(given) or inspect.isclass(given)):
        return False
    empty, optional = inspect.Parameter.empty, (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return all(p.default is not empty or p.kind in optional for p in inspect.signature(given).parameters.values())


def _as_problem(given: Any, text: str, argument: str) -> Problem:
    if isinstance(given, Problem) or (hasattr(given, "compile") and hasattr(given, "formulas")):
        return as_problem(given)
    if not callable(given) or inspect.isclass(given):
        raise InputError(argument, f"{text}, of type {type(given).__name__}", _KINDS)
    stated = {name: getattr(given, name) for name in _ATTRIBUTES if hasattr(given, name)}
    if "targets" not in stated:
        raise InputError(argument, f"{text}, a function without the attribute targets", _KINDS)
    try:
        return Problem.from_function(given, **stated)
    except InputError as error:
        raise _inner(error, text, argument) from error


def _inner(error: InputError, text: str, argument: str) -> InputError:
    return InputError(argument, f"{text}, whose {error.argument} is {error.given}", error.allowed)
