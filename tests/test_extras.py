"""Optional packages: pyproject.toml and the table of extras agree, and what is missing is said before any work."""

import pickle
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import sde_momentum as sm
from sde_momentum.core.extras import EXTRAS, MissingPackageError, require
from validation.runner import NEEDED

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DISTRIBUTIONS = {"sklearn": "scikit-learn", "PIL": "pillow"}


def distributions(extra):
    """The packages that an extra installs itself, and those with the extras that it includes."""
    own, more = set(), set()
    for line in PYPROJECT["optional-dependencies"][extra]:
        name, extras = re.fullmatch(r"([\w-]+)(?:\[(.+)\])?.*", line).groups()
        if name == "sde-momentum":
            more |= set().union(*(distributions(other)[1] for other in extras.split(",")))
        else:
            own.add(name)
    return own, own | more


@pytest.mark.parametrize("module", EXTRAS)
def test_each_optional_module_is_installed_by_its_extra(module):
    assert DISTRIBUTIONS.get(module, module) in distributions(EXTRAS[module])[0]


def test_what_the_experiments_ask_for_is_what_their_extra_installs():
    assert {DISTRIBUTIONS.get(module, module) for module in NEEDED} | {"dask", "distributed"} == distributions("validation")[1]
    assert distributions("all")[1] == distributions("validation")[1]


def test_the_version_is_the_same_everywhere():
    assert PYPROJECT["version"] == sm.__version__
    for file, pattern in (("CITATION.cff", r"^version: (.+)$"), ("docs/project/cite.md", r"version = \{(.+)\}")):
        assert re.search(pattern, (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)[1] == sm.__version__
    assert f"## {sm.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def without(modules, code):
    """Standard output, standard error and status of this code in a process in which these modules cannot be imported."""
    hidden = f"import sys\nsys.modules.update(dict.fromkeys({modules!r}))\n"
    return subprocess.run([sys.executable, "-c", hidden + code], capture_output=True, text=True)


COMMAND = "from sde_momentum.commands.main import main\nsys.argv = ['sde-momentum', *{!r}]\nmain()"


@pytest.mark.parametrize(
    ("modules", "arguments", "what", "extra"),
    [
        (["torch"], ["find", "--model", "a:b", "--data", "a:b", "--lr", "0.1"], "find needs torch,", "torch"),
        (["torch"], ["estimate", "--model", "a:b", "--data", "a:b", "--lr", "0.1"], "estimate needs torch,", "torch"),
        (["matplotlib"], ["phase-diagram"], "phase-diagram needs matplotlib,", "plot"),
        (
            ["matplotlib"],
            ["predict", "--problem", "valley", "--lr", "0.1", "--plot", "x.png"],
            "--plot needs matplotlib,",
            "plot",
        ),
        (["sympy"], ["predict", "--problem", "two-factor", "--lr", "0.1"], "the problem two-factor needs sympy,", "symbolic"),
        (["sympy", "mpmath"], ["derive", "drift"], "derive needs sympy, mpmath, which are not installed:", "symbolic"),
        (["torch", "jinja2"], ["validate", "matrix-sensing"], "validate matrix-sensing needs torch, jinja2,", "validation"),
    ],
)
def test_commands_name_what_is_missing_and_how_to_install_it(modules, arguments, what, extra):
    run = without(modules, COMMAND.format(arguments))
    assert (run.returncode, run.stdout, run.stderr.count("\n")) == (1, "", 1)
    assert run.stderr.startswith(f"sde-momentum: {what}")
    assert run.stderr.endswith(f"pip install 'sde-momentum[{extra}]', or in a copy of the source pip install -e '.[{extra}]'\n")


@pytest.mark.parametrize(
    ("modules", "code", "what"),
    [
        (["torch"], "import sde_momentum as sm; sm.find_momentum", "sde_momentum.find_momentum needs torch"),
        (["torch"], "from sde_momentum import MomentumScaler", "sde_momentum.MomentumScaler needs torch"),
        (["sympy"], "from derivations import SymbolicModel", "derivations.SymbolicModel needs sympy"),
        (["transformers"], "from sde_momentum.training import TrainerMomentumCallback", "TrainerMomentumCallback needs"),
        (["sympy"], "from sde_momentum.sde import from_sympy; from_sympy('-x', '1', 'x')", "from_sympy needs sympy"),
    ],
)  # fmt: skip
def test_names_say_what_they_need(modules, code, what):
    run = without(modules, code)
    assert what in run.stderr.splitlines()[-1]
    assert "pip install 'sde-momentum[" in run.stderr.splitlines()[-1]


def test_a_package_without_an_extra_is_installed_by_its_own_name_and_the_error_is_pickled():
    with pytest.raises(
        MissingPackageError, match=r"^a film needs no_such_module, which is not installed: pip install no_such_module$"
    ) as info:
        require("a film", "math", "no_such_module")
    again = pickle.loads(pickle.dumps(info.value))
    assert (str(again), again.name, type(again)) == (str(info.value), "no_such_module", MissingPackageError)
