"""`python -m derivations`: check every step, then write `sde_momentum/theory/formulas.py`."""

from __future__ import annotations

import sys
from pathlib import Path

from .codegen import DERIVATIONS, module

FORMULAS = Path(__file__).resolve().parent.parent / "sde_momentum" / "theory" / "formulas.py"


def main() -> int:
    """Write the module; write nothing and return 1 when a step fails."""
    failed = [f"{d.title} ({d.section}): {claim}" for d in DERIVATIONS for claim in d.failed()]
    if failed:
        print("not proved:", *failed, sep="\n  ", file=sys.stderr)
        return 1
    FORMULAS.write_text(module(), encoding="utf-8")
    steps = sum(len(d.steps) for d in DERIVATIONS)
    formulas = sum(len(d.formulas) for d in DERIVATIONS)
    print(f"{steps} steps hold; {formulas} formulas written to {FORMULAS.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
