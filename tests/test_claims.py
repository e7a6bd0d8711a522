"""The ledger of claims: every row's support exists, and the page says what the stored results say."""

from __future__ import annotations

import json
import re
import shutil

import matplotlib.pyplot as plt
import pytest

from derivations.codegen import BY_NAME
from validation import claims
from validation.claims import CLAIMS, PAGE, RESULTS, ROOT, SYSTEMS, Stored, exponents_picture, page, stored
from validation.judges import better, courses, decisive, exponents, generalisation, limits, lower_decade, times
from validation.registry import experiment_of, experiments
from validation.store import read, read_sweep

THEORY = (ROOT / "docs" / "theory.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.text)
def test_a_claim_has_its_equation_derivation_and_tests(claim):
    assert all(re.search(rf"\({re.escape(equation)}\)$", THEORY, flags=re.MULTILINE) for equation in claim.equations)
    assert all((ROOT / "derivations" / f"{name}.py").is_file() for name in claim.derivations)
    assert set(claim.derivations) <= set(BY_NAME)
    assert claim.tests
    assert all((ROOT / test).is_file() for test in claim.tests)


def test_the_page_is_what_the_stored_results_say():
    """And every claim has at least one measurement; of a result that turns round, the verdict turns round."""
    results = stored()
    assert PAGE.read_text(encoding="utf-8") == page(results)
    for claim in CLAIMS:
        assert any(list(claim.judge(each.summary)) for each in results.values()), claim.text
    energies = next(claim for claim in CLAIMS if claim.equations == ("2.10",))
    (right,), (wrong,) = energies.judge({"loss_ratio": [1.01, 0.01]}), energies.judge({"loss_ratio": [1.1, 0.01]})
    assert (right.holds, wrong.holds) == (True, False)


def law(n, exponent, p):
    """A fit with n corrections."""
    gamma = {"value": exponent, "low": exponent - 0.02, "high": exponent + 0.02, "standard_error": 0.01}
    return {"exponent": gamma, "corrections": [0] * n, "chi2": 1.0, "degrees_of_freedom": 3 - n, "p_value": p}


@pytest.mark.parametrize(
    ("p", "which"), [((0.5, 0.9), 0), ((0.05, 0.9), 0), ((0.04, 0.9), 1), ((0.04, 0.9, 0.9), 1), ((0.04, 0.04), None), ((), None)]
)
def test_the_first_fit_whose_chi_squared_is_acceptable_decides(p, which):
    assert decisive([law(n, 0.7, each) for n, each in enumerate(p)]) == which


def test_a_system_counts_once_and_by_what_decides():
    """Of two systems one agrees, by its corrected fit; the other has no acceptable fit, so 2/3 in its interval is no help."""
    judge = exponents("fastest")
    first = {
        "fits": {"fastest": [law(0, 0.72, 0.01), law(1, 0.66, 0.4)]},
        "left_out": {"fastest": {"1 to 5": law(0, 0.9, 1)["exponent"]}},
    }
    second = {"fits": {"fastest": [law(0, 0.66, 0.01), law(1, 0.66, 0.01)]}}
    verdicts = claims._verdicts({"a": list(judge(first)), "b": list(judge(second))})
    assert verdicts == {"a": True, "b": False}
    assert claims._verdicts({"c": list(judge({"at_end_of_sweep": {"fastest": 1}}))}) == {"c": False}
    text = page(
        {name: Stored({**each, "worst_regret": {}}, ["x"], "0", ["results.nc"]) for name, each in (("a", first), ("b", second))}
    )
    assert "| 1 of 2 |" in text
    assert "**1 of 2** do: a." in text


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [(0.6, 0.7, ""), (0.4, 0.7, ", which also contains 1/2"), (0.4, 1.1, ", which also contains 1/2 and 1"), (0.7, 1.1, "")],
)
def test_other_powers_in_an_interval_that_contains_two_thirds_are_named(low, high, says):
    fit = law(0, 0.7, 0.5) | {"exponent": {"value": 0.7, "low": low, "high": high, "standard_error": 0.1}}
    (row,) = exponents("fastest")({"fits": {"fastest": [fit]}})
    assert row.value.startswith(f"0.700 ({low:.3f} to {high:.3f}){says}, chi squared")
    assert row.holds == (low < 2 / 3 and not says)


@pytest.mark.parametrize(
    ("value", "error", "is_good"), [(1.05, 0.07, True), (1.2, 0.03, True), (1.2, 0.02, False), (1.05, 0.08, False)]
)
def test_a_time_is_good_only_where_its_error_can_tell(value, error, is_good):
    found = {"lr^(2/3)": {"value": value, "standard_error": error, "low": value, "high": value}}
    assert [row.holds for row in better({"worst_regret": found})] == [is_good]


def test_a_bound_by_the_number_of_steps_has_no_error():
    def one(error, bound):
        return {"value": 4.5, "low": 4.0, "high": 5.0, "standard_error": error, "at_least": bound}

    found = better({"worst_regret": {"fastest": {"lr^(2/3)": one(0.1, False), "lr": one(0.0, True), "0.9": one(0.2, True)}}})
    assert [row.value for row in found] == ["4.50 ± 0.10", "> 4.50", "> 4.50 ± 0.20"]


def test_ways_that_cost_the_same_are_one_row():
    def one(value, bound=False):
        return {"value": value, "low": value - 0.1, "high": value + 0.1, "standard_error": 0.05, "at_least": bound}

    every = {"lr^(2/3)": one(1.05), "lr^(1/2)": one(1.1), "lr": one(2.0), "kept": one(4.5, True), "0.9": one(4.5, True)}
    found = list(better({"worst_regret": every}))
    assert [row.what for row in found[1:]] == ["the same, lr^(1/2)", "the same, lr", "the same, kept; 0.9"]
    assert [row.holds for row in found] == [True, False, True, True]


@pytest.mark.parametrize(("exponent", "agrees"), [(-0.66, True), (-0.7, False), (0.66, False)])
def test_the_shortest_time_agrees_where_the_deciding_fit_contains_minus_two_thirds(exponent, agrees):
    (row, other) = times({"time_fits": [law(0, exponent, 0.3), law(1, -2 / 3, 0.9)]})
    assert (row.holds, row.decides, other.decides) == (agrees, True, False)
    wide = law(0, -0.7, 0.3) | {"exponent": {"value": -0.7, "low": -1.1, "high": -0.6, "standard_error": 0.1}}
    assert next(times({"time_fits": [wide]})).value.startswith("-0.700 (-1.100 to -0.600), which also contains -1, chi")


def test_a_shortest_time_at_the_end_of_the_sweep_decides_against_it():
    found = list(times({"time_fits": [law(0, -2 / 3, 0.3)], "at_end_of_sweep": {"fastest": 2}}))
    assert [(row.holds, row.decides) for row in found] == [(False, True), (True, False)]
    assert found[0].value == "at the end of the sweep at 2 learning rates: its time is an upper bound"


def test_test_metrics_are_listed_and_decide_nothing():
    def one(value):
        return {"value": value, "standard_error": 0.01}

    metrics = {"test loss": {"fastest": one(0.3), "least": one(0.2), "difference": one(0.1)}}
    (row,) = generalisation({"test_metrics": metrics, "least_over_fastest": [3.2, 4.0]})
    assert row.what == "test loss: at the fastest momentum; at 3.2 to 4 times its 1 - beta"
    assert row.value == "0.300 ± 0.010; 0.200 ± 0.010; difference +0.100 ± 0.010"
    assert claims._row("a", "results.nc", row).endswith(f"| {row.value} | listed |")
    assert claims._verdicts({"a": [row]}) == {}


def test_a_limit_whose_error_stays_is_no_limit():
    def one(error, power):
        return {
            "summary": {
                "x": {"critical limit": {"lr": [0.1, 0.01], "error": [0.2, error], "error_se": [0.01, 0.01], "power": power}}
            }
        }

    found = [next(limits(one(*each))).holds for each in ((0.015, None), (0.1, (0.3, 0.05)), (0.19, (0.02, 0.05)), (0.1, None))]
    assert found == [True, True, False, False]


@pytest.mark.parametrize(("gap", "error", "agrees"), [(0.1, 0.01, True), (-0.16, 0.01, True), (-0.2, 0.01, False), (5, 5, False)])
def test_a_course_agrees_within_its_error_which_must_be_small_enough_to_tell(gap, error, agrees):
    far = {"value": gap, "standard_error": error, "step": 7}
    (row,) = courses({"course": {"lr": 0.1, "one_minus_beta": [0.01], "trace_hessian": [far]}})
    assert row.holds == agrees


def test_stored_results_name_no_folder_of_the_machine_they_are_from():
    kept = claims.without_folders({"experiment": "x", "data": "/home/me/images", "seed": 0})
    assert kept == {"experiment": "x", "data": None, "seed": 0}
    assert claims.without_folders({"results": 1, "configuration": {"data": "/home"}})["configuration"] == {"data": None}
    for folder in RESULTS.iterdir():
        for path in folder.glob("*.json"):
            found = read(path)
            assert found.get("data") is None
            assert found.get("configuration", {}).get("data") is None
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
    assert pictures or folder.name == "predictions"
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
