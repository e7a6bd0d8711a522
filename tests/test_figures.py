"""The pictures show the numbers that they are given."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import sde_momentum as sm

pytest.importorskip("matplotlib")

from matplotlib.figure import Figure

from sde_momentum.figures import phase_diagram, time_against_momentum

DELTA, TIME = np.array([0.1, 0.01, 0.03, 0.003]), np.array([300.0, 100.0, 150.0, np.inf])


def line(axes, label):
    (found,) = [line for line in axes.get_lines() if line.get_label() == label]
    return found.get_xydata()


def labels(axes):
    return axes.get_legend_handles_labels()[1]


def test_the_phase_diagram_shows_optimum_edge_and_measured_points():
    diagram = sm.PhaseDiagram(1e-3, 2.0, [0.5, 2.0], coupling=5.0, target=0.3)
    data = diagram.dataset(np.geomspace(1e-3, 3, 40), np.geomspace(1e-4, 1, 50))
    lr = np.array([0.01, 0.1])
    scales = {"measured": 0.1, "measured_low": 0.09, "measured_high": 0.12}
    found = {name: ("lr", scale * lr ** (2 / 3)) for name, scale in scales.items()}
    recommended = (("method", "lr"), 0.11 * lr[None] ** (2 / 3))
    measured = xr.Dataset({**found, "recommended": recommended}, coords={"lr": lr, "method": ["effective loss"]})
    axes = Figure().add_subplot()
    phase_diagram.draw(axes, data, measured)
    np.testing.assert_allclose(line(axes, "optimum, closed form")[:, 1], diagram.optimum(data["lr"]))
    np.testing.assert_allclose(line(axes, "stability edge along $\\Gamma$")[:, 1], diagram.edge(data["lr"]))
    np.testing.assert_allclose(line(axes, "a normal mode becomes unstable")[:, 0], diagram.stable_lr(data["one_minus_beta"]))
    np.testing.assert_allclose(line(axes, "$L_{eff}$ recommends")[:, 1], 0.11 * lr ** (2 / 3))
    (bars,) = axes.containers
    ends = np.array([segment[:, 1] for segment in bars[2][0].get_segments()])
    np.testing.assert_allclose(ends, np.outer(lr ** (2 / 3), [0.09, 0.12]))
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    drawn = axes.collections[0].get_array().reshape(50, 40)
    np.testing.assert_array_equal(drawn, data["regime"].values.T)


def test_what_a_diagram_lacks_is_not_in_its_legend():
    axes = Figure().add_subplot()
    data = sm.PhaseDiagram(1e-3, 2.0, [0.5, 2.0]).dataset(np.geomspace(1e-4, 0.1, 20), np.geomspace(1e-3, 1, 20))
    phase_diagram.draw(axes, data)
    assert not {"stability edge along $\\Gamma$", "a normal mode becomes unstable", "measured optimum, 95 %"} & set(labels(axes))
    legend = phase_diagram.phase_diagram(data).axes[0].artists[0]
    assert [text.get_text() for text in legend.get_texts()] == ["overdamped", "mixed", "underdamped", "inertial drift"]


def test_a_curve_is_sorted_and_has_a_band_of_95_percent():
    axes = Figure().add_subplot()
    time_against_momentum.draw(axes, {"SGD": (DELTA, TIME, 0.1 * TIME)}, {"SGD": 0.02, "rule": 0.05}, 0.004)
    np.testing.assert_allclose(line(axes, "SGD"), [[0.01, 100], [0.03, 150], [0.1, 300]])
    (band,) = axes.collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert heights.min() == pytest.approx(100 * (1 - 0.196))
    assert heights.max() == pytest.approx(300 * (1 + 0.196))
    on_curve = 100 * 1.5 ** (np.log(2) / np.log(3))  # a power law between 0.01 and 0.03
    np.testing.assert_allclose(line(axes, "SGD recommends"), [[0.02, on_curve]])
    np.testing.assert_allclose(line(axes, "rule recommends")[:, 0], 0.05)
    assert labels(axes)[0] == "beyond the cliff"


def test_a_curve_without_errors_and_a_picture_without_edge():
    axes = Figure().add_subplot()
    time_against_momentum.draw(axes, {"L": (DELTA, TIME, None)}, {}, None)
    assert labels(axes) == ["L"]
    assert len(axes.collections) == 0


@pytest.mark.parametrize(
    ("curves", "message"),
    [
        ({}, "curves: given none; allowed: at least one"),
        ({"a": (DELTA, TIME[:2], None)}, r"curves\['a'\]: given shapes \(4,\), \(2,\), \(2,\); allowed: three arrays"),
        ({"a": (DELTA[:1], [np.inf], None)}, r"curves\['a'\]: given no finite time; allowed"),
        ({str(i): (DELTA, TIME, None) for i in range(7)}, "curves: given 7 curves; allowed: at most 6"),
    ],
)
def test_bad_curves_are_refused(curves, message):
    with pytest.raises(sm.InputError, match=message):
        time_against_momentum.draw(Figure().add_subplot(), curves, {}, None)
