"""`python -m derivations`: check every step, then write `sde_momentum/theory/formulas.py` and `docs/glossary.md`."""

from __future__ import annotations

import sys
from pathlib import Path

from . import glossary
from .codegen import DERIVATIONS, module
from .definitions import undefined

ROOT = Path(__file__).resolve().parent.parent
FORMULAS = ROOT / "sde_momentum" / "theory" / "formulas.py"
GLOSSARY = ROOT / "docs" / "glossary.md"


def main() -> int:
    """Write both files; write nothing and return 1 when a step fails or uses a letter that nothing defines."""
    failed = [f"{d.title} ({d.place}): {claim}" for d in DERIVATIONS for claim in d.failed()]
    failed += [f"{d.title} ({d.place}): {name} is not defined" for d in DERIVATIONS for name in undefined(d)]
    if failed:
        print("not proved:", *failed, sep="\n  ", file=sys.stderr)
        return 1
    FORMULAS.write_text(module(), encoding="utf-8")
    GLOSSARY.write_text(glossary.page(), encoding="utf-8")
    steps = sum(len(d.steps) for d in DERIVATIONS)
    formulas = sum(len(d.formulas) for d in DERIVATIONS)
    print(f"{steps} steps hold; {formulas} formulas written to {FORMULAS.name}, their symbols to {GLOSSARY.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
