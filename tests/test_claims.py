"""The ledger of claims: every row's support exists, and the page says what the stored results say."""

from __future__ import annotations

import json
import re
import shutil

import matplotlib.pyplot as plt
import pytest

from derivations.codegen import BY_NAME
from validation import claims
from validation.claims import CLAIMS, PAGE, RESULTS, ROOT, SYSTEMS, exponents_picture, lower_decade, page, stored
from validation.registry import experiment_of, experiments
from validation.store import CONFIGURATION, read, read_sweep

THEORY = (ROOT / "docs" / "theory.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.text)
def test_a_claim_has_its_equation_derivation_and_tests(claim):
    assert re.search(rf"\({re.escape(claim.equation)}\)$", THEORY, flags=re.MULTILINE)
    assert set(claim.derivations) <= set(BY_NAME)
    assert claim.tests
    assert all((ROOT / test).is_file() for test in claim.tests)


def test_the_page_is_what_the_stored_results_say():
    """And every claim has at least one measurement; of a result that turns round, the verdict turns round."""
    results = stored()
    assert PAGE.read_text(encoding="utf-8") == page(results)
    assert all(any(list(claim.judge(summary)) for summary, _ in results.values()) for claim in CLAIMS)
    energies = next(claim for claim in CLAIMS if claim.equation == "2.10")
    (right,), (wrong,) = energies.judge({"loss_ratio": [1.01, 0.01]}), energies.judge({"loss_ratio": [1.1, 0.01]})
    assert (right.holds, wrong.holds) == (True, False)


def test_stored_results_name_no_folder_of_the_machine_they_are_from():
    kept = claims.without_folders({"experiment": "x", "data": "/home/me/images", "seed": 0})
    assert kept == {"experiment": "x", "data": None, "seed": 0}
    for folder in RESULTS.iterdir():
        assert read(folder / CONFIGURATION).get("data") is None
        for path in folder.rglob("*.nc"):
            assert json.loads(read(path).attrs.get("configuration", "{}")).get("data") is None


def outside(figure):
    """Legends, titles and labels that leave their picture, by a point or more."""
    figure.canvas.draw()
    parts = [*figure.legends, *(part for axis in figure.axes for part in (axis.title, axis.xaxis.label, axis.yaxis.label))]
    parts += [axis.get_legend() for axis in figure.axes if axis.get_legend() is not None]
    boxes, inside = [part.get_window_extent() for part in parts], figure.bbox.padded(1)
    corners = [((box.x0, box.y0), (box.x1, box.y1)) for box in boxes if box.width]
    return [pair for pair in corners if not all(inside.contains(*corner) for corner in pair)]


DRAWN = sorted(each for each in RESULTS.iterdir() if each.name in experiments())
"""One folder for each experiment: the others have the same pictures."""


@pytest.mark.parametrize("folder", DRAWN, ids=lambda folder: folder.name)
def test_no_legend_title_or_label_leaves_its_picture(folder):
    experiment = experiment_of(folder)
    pictures = [each for section in experiment.report(experiment.results(folder)).sections for each in section.pictures]
    assert pictures
    for picture in pictures:
        figure = picture.draw()
        assert outside(figure) == [], picture.name
        plt.close(figure)


def test_the_picture_of_local_exponents_has_a_panel_for_each_system():
    figure = exponents_picture()
    assert outside(figure) == []
    assert [axis.get_title() for axis in figure.axes] == list(SYSTEMS.values())
    plt.close(figure)


def test_the_lower_decade_is_the_widest_part_from_the_smallest_learning_rate_within_a_factor_of_10():
    parts = ["0.001 to 0.005", "0.005 to 0.02", "0.001 to 0.01", "0.001 to 0.02"]
    assert lower_decade(parts) == "0.001 to 0.01"
    assert lower_decade(["0.001 to 0.05"]) == "0.001 to 0.05"
    assert lower_decade([]) is None


def test_results_are_kept_under_their_own_name_without_the_page_of_the_report(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "RESULTS", tmp_path / "kept")
    monkeypatch.setattr(claims, "draw", lambda experiment, kept, as_json: (kept / "report.html").touch())
    folder = tmp_path / "resnet18-cifar10-again"
    shutil.copytree(RESULTS / "resnet18-cifar10", folder)
    (tmp_path / "kept").mkdir()
    claims.keep(folder)
    (kept,) = (tmp_path / "kept").iterdir()
    assert kept.name == "resnet18-cifar10-again"
    assert read_sweep(kept).identical(read_sweep(folder))
    assert not list(kept.glob("*.html"))


def test_a_legend_that_is_too_wide_is_seen():
    figure, axis = plt.subplots(figsize=(2, 2), layout="constrained")
    for i in range(4):
        axis.plot([0, 1], label=f"a long name, number {i}")
    assert outside(figure) == []
    figure.legend(loc="outside upper center", ncols=4)
    assert outside(figure)
    plt.close(figure)
