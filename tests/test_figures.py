"""The pictures show the numbers that they are given."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import sde_momentum as sm

pytest.importorskip("matplotlib")

from matplotlib.figure import Figure

from sde_momentum.figures import phase_diagram, time_against_momentum
from sde_momentum.figures.style import plain_ticks

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


def test_every_curve_has_a_style_of_its_own():
    axes = Figure().add_subplot()
    time_against_momentum.draw(axes, {str(i): (DELTA, TIME, None) for i in range(18)}, {}, None)
    assert len({(line.get_color(), line.get_linestyle()) for line in axes.get_lines()}) == 18


@pytest.mark.parametrize("span", [1.01, 1.05, 1.2, 1.7, 3.0, 8.0, 30.0, 1e3, 1e5, 1e8])
@pytest.mark.parametrize("low", [1.7e-12, 2.9e-3, 0.47, 330.0])
def test_ticks_of_a_log_axis_are_at_least_two_told_apart_and_exactly_where_they_say(low, span):
    axes = Figure(figsize=(3, 3)).add_subplot(xscale="log", yscale="log", xlim=(low, low * span), ylim=(low, low * span))
    plain_ticks(axes)
    for line in (axes.xaxis, axes.yaxis):
        shown = [at for at in line.get_majorticklocs() if low * 0.999999 <= at <= low * span * 1.000001]
        texts = line.get_major_formatter().format_ticks(shown)
        assert 2 <= len(shown) <= 6
        assert len(set(texts)) == len(texts)
        np.testing.assert_allclose([float(text.replace(",", "")) for text in texts], shown, rtol=1e-9)


def trial(lr, delta, time, error=0.0):
    """A trial of 400 steps at each momentum."""
    return lr, delta, time, error * time if error else np.zeros_like(time), np.full(len(delta), 400)


def test_trials_are_points_with_95_percent_bars_and_those_that_missed_the_target_are_triangles_at_their_last_step():
    axes = Figure().add_subplot()
    trials = [trial(0.01, DELTA, TIME, 0.1), trial(0.001, DELTA / 4, 4 * TIME)]
    time_against_momentum.draw(axes, {}, {"rule": 0.05}, trials=trials)
    small, large = axes.containers
    assert [bars.get_label() for bars in (small, large)] == ["trials, lr 0.001", "trials, lr 0.01"]
    np.testing.assert_allclose(large[0].get_xydata(), [[0.01, 100], [0.03, 150], [0.1, 300]])
    np.testing.assert_allclose([s[:, 1] for s in large[2][0].get_segments()], np.outer([100, 150, 300], [0.804, 1.196]))
    ends = [line.get_xydata() for line in axes.get_lines() if line.get_marker() == "^" and len(line.get_xdata())]
    np.testing.assert_allclose(ends, [[[0.003 / 4, 400]], [[0.003, 400]]])
    assert "target not met in so many steps" in labels(axes)
    assert axes.get_xlim()[0] < 0.003 / 4
    assert axes.get_ylim()[0] < 100
    assert axes.get_ylim()[1] > 1200


def test_the_answer_is_a_star_with_both_intervals_and_a_line_leads_to_it_where_it_is_carried():
    axes = Figure().add_subplot()
    trials = [trial(0.01, DELTA, TIME, 0.1)]
    answer = time_against_momentum.Answer(0.002, 0.0015, 0.003, 2000.0, 50.0, carried=True)
    time_against_momentum.draw(axes, {}, {}, trials=trials, answer=answer)
    np.testing.assert_allclose(line(axes, "recommended"), [[0.002, 2000]])
    np.testing.assert_allclose(line(axes, "carried between learning rates"), [[0.002, 2000], [0.01, 100]])
    (across,), (up,) = (bars.get_segments() for bars in axes.containers[-1][2])
    np.testing.assert_allclose(across, [[0.0015, 2000], [0.003, 2000]])
    np.testing.assert_allclose(up, [[0.002, 2000 - 98], [0.002, 2000 + 98]])
    unknown = Figure().add_subplot()
    time_against_momentum.draw(unknown, {"L": (DELTA, TIME, None)}, {}, answer=time_against_momentum.Answer(0.02, 0.01, 0.03))
    np.testing.assert_allclose(line(unknown, "recommended")[:, 0], 0.02)


def test_a_target_that_no_trial_met_is_drawn_and_far_times_of_theory_are_cut_off():
    axes = Figure().add_subplot()
    time_against_momentum.draw(axes, {}, {}, trials=[trial(0.01, DELTA, np.full(4, np.inf))])
    assert "target not met in so many steps" in labels(axes)
    time_against_momentum.draw(axes, {"L": ([0.001, 0.01], [1e6, 90.0], None)}, {}, trials=[trial(0.01, DELTA, TIME)])
    assert 300 * 30 < axes.get_ylim()[1] < 1e5


@pytest.mark.parametrize(
    ("curves", "message"),
    [
        ({}, "curves: given none; allowed: at least one, or trials"),
        ({"a": (DELTA, TIME[:2], None)}, r"curves\['a'\]: given shapes \(4,\), \(2,\), \(2,\); allowed: arrays"),
        ({"a": (DELTA[:1], [np.inf], None)}, r"curves\['a'\]: given no finite time; allowed"),
        ({str(i): (DELTA, TIME, None) for i in range(19)}, "curves: given 19 curves; allowed: at most 18"),
    ],
)
def test_bad_curves_are_refused(curves, message):
    with pytest.raises(sm.InputError, match=message):
        time_against_momentum.draw(Figure().add_subplot(), curves, {}, None)
