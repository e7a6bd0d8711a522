"""`make wheel-test`: builds the wheel and the source distribution, and tries both in new environments, outside the repository.

    python tests/distribution.py [--only core|symbolic|torch|all|sdist ...]

It fails at the first thing that is not as it should be. Packages are installed in the versions of constraints.txt.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NUMBERS = "predict --lr 0.01 --noise 0.01 --curvature 1"
IN_SDIST = ("docs/theory.md", "tests/conftest.py", "LICENSE", "CITATION.cff", "CHANGELOG.md", "Makefile", "pyproject.toml")
IN_WHEEL = (
    "sde_momentum/py.typed",
    "sde_momentum/__init__.pyi",
    "validation/templates/report.html.j2",
    "validation/templates/report.css",
    "derivations/page/base.css",
    "derivations/page/style.css",
)
TESTS = (
    "tests/test_import.py",
    "tests/test_extras.py",
    "tests/test_momentum_rule.py",
    "tests/test_formulas.py",
    "tests/test_sde.py",
)
"""Of the source distribution, run from it: quick, and each of another room."""


@dataclass(frozen=True)
class Check:
    """What is tried in an environment with some extras.

    Attributes:
        extras: installed with the wheel
        code: Python that must run
        commands: of `sde-momentum`, that must end with status 0
        refused: command -> what its one line must hold, with status 1
    """

    extras: str
    code: str
    commands: tuple[str, ...]
    refused: dict[str, str]


_PLAIN = "import sde_momentum as sm; print(sm.__version__, sm.MomentumRule.from_reference(0.1, 0.9).momentum(0.01))"
ONE, SEVERAL = (f"which {verb} not installed: pip install 'sde-momentum[" for verb in ("is", "are"))
_FIND = "find --model a:b --data a:b --lr 0.1"
CHECKS = {
    "core": Check(
        "",
        _PLAIN,
        (NUMBERS, "--version", "simulate --problem valley --lr 0.05 --momentum 0.9 --steps 20 --records 2 --seeds 2"),
        {
            _FIND: f"find needs torch, {ONE}torch]'",
            "estimate --model a:b --data a:b --lr 0.1": f"estimate needs torch, {ONE}torch]'",
            "phase-diagram": f"phase-diagram needs matplotlib, {ONE}plot]'",
            "predict --lr 0.01 --problem valley --plot x.png": f"--plot needs matplotlib, {ONE}plot]'",
            "predict --lr 0.01 --problem two-factor": f"two-factor needs sympy, mpmath, {SEVERAL}symbolic]'",
            "derive drift": f"derive needs sympy, mpmath, {SEVERAL}symbolic]'",
            "validate matrix-sensing": "pip install 'sde-momentum[validation]'",
        },
    ),
    "symbolic": Check(
        "[symbolic]",
        "import sympy as sp; from sde_momentum.sde import from_sympy; x = sp.Symbol('x');"
        "print(from_sympy(-x, 1, x).drift(2.0, 0.0, ()))",
        ("derive oscillator",),
        {_FIND: "pip install 'sde-momentum[torch]'", "phase-diagram": "pip install 'sde-momentum[plot]'"},
    ),
    "torch": Check(
        "[torch]",
        "import torch, sde_momentum as sm; o = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.01, momentum=0.5);"
        "sm.MomentumScaler(o, sm.MomentumRule.from_reference(0.1, 0.9)); print(o.param_groups[0]['momentum'])",
        (NUMBERS,),
        {"phase-diagram": "pip install 'sde-momentum[plot]'", "validate recipes": "pip install 'sde-momentum[validation]'"},
    ),
    "all": Check(
        "[all]",
        _PLAIN,
        ("derive drift", "validate --help", "phase-diagram --noise 0.01 --curvature 1 --eigenvalue 1 --out regimes.png"),
        {},
    ),
}  # fmt: skip


def say(text: str) -> None:
    print(text, flush=True)


def environment(folder: Path, *requirements: str) -> Path:
    """A new environment with these packages; its folder of programs."""
    venv.create(folder, with_pip=True)
    programs = folder / "bin"
    run(
        programs / "python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "-c",
        ROOT / "constraints.txt",
        *requirements,
    )
    return programs


def run(*words: object, cwd: Path | None = None) -> str:
    """The output of a command, which must end with status 0."""
    done = started(*words, cwd=cwd)
    if done.returncode:
        sys.exit(f"status {done.returncode}: {' '.join(map(str, words))}\n{done.stdout}{done.stderr}")
    return done.stdout


def started(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run([str(word) for word in words], cwd=cwd, env=clean, capture_output=True, text=True, check=False)


def expect(true: bool, message: str) -> None:
    if not true:
        sys.exit(f"not as it should be: {message}")


def build(folder: Path) -> tuple[Path, Path]:
    """Wheel and source distribution, built and checked for what they hold and for how the README renders."""
    tools = environment(folder / "tools", "build", "twine", "readme_renderer[md]")  # without md twine renders nothing
    run(tools / "python", "-m", "build", "--outdir", folder / "dist", ROOT)
    (wheel,), (sdist,) = (folder / "dist").glob("*.whl"), (folder / "dist").glob("*.tar.gz")
    say(run(tools / "python", "-m", "twine", "check", "--strict", wheel, sdist).strip())
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
    expect(set(IN_WHEEL) <= names, f"the wheel lacks {set(IN_WHEEL) - names}")
    expect(any(name.endswith("licenses/LICENSE") for name in names), "the wheel lacks the licence")
    strange = {name for name in names if not name.split("/")[0].startswith(("sde_momentum", "derivations", "validation"))}
    expect(
        not strange and not any(name.startswith("validation/results") for name in names),
        f"the wheel holds {strange or 'results'}",
    )
    with tarfile.open(sdist) as packed_source:
        inside = {name.partition("/")[2] for name in packed_source.getnames()}
    expect(set(IN_SDIST) <= inside, f"the source distribution lacks {set(IN_SDIST) - inside}")
    for file, held in ((wheel, names), (sdist, inside)):
        say(f"{file.name}: {len(held)} files, {file.stat().st_size / 1e6:.1f} MB")
    return wheel, sdist


def try_wheel(name: str, check: Check, wheel: Path, folder: Path) -> None:
    """The wheel with some extras, installed and used outside the repository."""
    place = folder / name
    programs = environment(place / "venv", f"sde-momentum{check.extras} @ {wheel.as_uri()}")
    command = programs / "sde-momentum"
    say(f"{name}: {run(programs / 'python', '-c', check.code, cwd=place).strip()}")
    for line in check.commands:
        expect(bool(run(command, *line.split(), cwd=place)), f"{line} prints nothing")
    for line, message in check.refused.items():
        done = started(command, *line.split(), cwd=place)
        right = done.returncode == 1 and message in done.stderr and done.stderr.count("\n") == 1
        expect(right, f"{line} in {name}: status {done.returncode}, {done.stderr!r}; wanted {message!r}")
    say(f"{name}: {len(check.commands)} commands run, {len(check.refused)} refused with the right line")


def try_sdist(sdist: Path, folder: Path) -> None:
    """The source distribution, unpacked: some of its tests against what is installed from it."""
    place = folder / "sdist"
    place.mkdir()
    with tarfile.open(sdist) as packed:
        packed.extractall(place, filter="data")
    (source,) = place.iterdir()
    programs = environment(place / "venv", f"{source}[all]", "pytest", "hypothesis")
    told = run(programs / "python", "-m", "pytest", "-p", "no:cacheprovider", *TESTS, cwd=source)
    say(f"sdist: {told.strip().splitlines()[-1]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=[*CHECKS, "sdist"], nargs="*", default=[*CHECKS, "sdist"])
    wanted = parser.parse_args().only
    with tempfile.TemporaryDirectory(prefix="sde-momentum-") as temporary:
        folder = Path(temporary)
        wheel, sdist = build(folder)
        for name in (name for name in CHECKS if name in wanted):
            try_wheel(name, CHECKS[name], wheel, folder)
        if "sdist" in wanted:
            try_sdist(sdist, folder)
    say("all as it should be")


if __name__ == "__main__":
    main()
