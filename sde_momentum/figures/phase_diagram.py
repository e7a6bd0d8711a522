"""Picture of the phase diagram: regimes, contours of the two timescales, optimum, stability edge, measured optima."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from .style import BLACK, BLUE, GREEN, PURPLE, RED, STYLE

Floats = NDArray[np.float64]

_FILL = ("#cfe0f0", "#dfeaf2", "#f3f6f0", "#fbeec4", "#f3b79b", "#c4c4c4")
"""Colours of the regimes, in the order of their codes."""
_BAND = "#a9c9e2"
"""Colour of the optimum's band: opaque, so that the legend shows it as it is drawn."""
_SOFT = 20.0
"""Factor below the stability edge over which the colour of what is beyond it comes in: near it momenta are still good."""
_LEVELS = 5
"""Largest number of contours of each timescale."""

_ROOM = 0.03  # least distance of a contour's number from everything else, as a fraction of the axes

_CONTOUR = {
    "transverse": (GREEN, (0, (5, 2)), r"$\tau_\perp$, slowest normal mode (steps)"),
    "longitudinal": (PURPLE, (0, (1, 1.3)), r"$\tau_\parallel = \delta / k$, along $\Gamma$ (steps)"),
}


def draw(axes: Axes, diagram: xr.Dataset, measured: xr.Dataset | None = None) -> None:
    """Draw the dataset of `PhaseDiagram.dataset`, and that of `measured_optima` over it; no legend."""
    lr, delta = diagram["lr"].values, diagram["one_minus_beta"].values
    names = regime_names(diagram)
    codes = diagram["regime"].values.T
    cells = axes.pcolormesh(lr, delta, codes, cmap=ListedColormap(_FILL), vmin=-0.5, vmax=len(names) - 0.5, rasterized=True)
    cells.set_zorder(0)
    _fade(axes, diagram)
    axes.set(xscale="log", yscale="log", xlim=(lr[0], lr[-1]), ylim=(delta[0], delta[-1]))
    axes.set(xlabel="learning rate", ylabel=r"$1 - \mathrm{momentum}$  ($\delta = 1-\beta$)")
    axes.plot(lr, diagram["optimum"].values, color=BLUE, lw=2.4, label="optimum, closed form")
    low, high = diagram["optimum_low"].values, diagram["optimum_high"].values
    if np.any(high > low):
        axes.fill_between(lr, low, high, color=_BAND, lw=0, zorder=1, label=_band(diagram))
    edge = diagram["edge"].values
    if edge.any():
        axes.plot(lr, edge, color=RED, lw=2, ls="-.", label="stability edge along $\\Gamma$")
    if diagram["stable_lr"].values.min() < lr[-1]:
        axes.plot(diagram["stable_lr"].values, delta, color=BLACK, lw=1.5, label="a normal mode becomes unstable")
    lines = [(lr, diagram["optimum"].values), (lr, edge), (diagram["stable_lr"].values, delta)]
    if measured is not None:
        _measured(axes, measured)
        lines.append((measured["lr"].values, measured["measured"].values))
    occupied = np.concatenate([_place(axes, *line) for line in lines])
    for name, (colour, dashes, label) in _CONTOUR.items():
        occupied = _contours(axes, diagram, name, colour, dashes, occupied)
        axes.plot([], [], color=colour, ls=dashes, lw=1.3, label=label)


def _fade(axes: Axes, diagram: xr.Dataset) -> None:
    """Lighten the regime beyond the stability edge towards the edge, from the colour of the regime before it."""
    lr, delta, edge = (diagram[name].values for name in ("lr", "one_minus_beta", "edge"))
    before, beyond = (regime_names(diagram).index(name) for name in ("inertial drift", "beyond the edge"))
    with np.errstate(divide="ignore", invalid="ignore"):
        near = 1 - np.log(edge[None] / delta[:, None]) / np.log(_SOFT)
    colours = np.zeros((*near.shape, 4))
    colours[..., :3] = to_rgb(_FILL[before])
    regimes = diagram["regime"].values.T
    colours[..., 3] = np.where(regimes == beyond, np.clip(near, 0.0, 1.0), 0.0)
    axes.pcolormesh(lr, delta, colours, rasterized=True, zorder=0.5)


def phase_diagram(diagram: xr.Dataset, measured: xr.Dataset | None = None) -> Figure:
    """The whole figure with its legends; arguments as for `draw`."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 5.4), layout="constrained")
        axes = figure.add_subplot()
        draw(axes, diagram, measured)
        present = np.unique(diagram["regime"].values)
        patches = [Patch(fc=_FILL[i], ec="0.6", lw=0.6, label=regime_names(diagram)[i]) for i in present]
        lines, labels = axes.get_legend_handles_labels()
        order = np.argsort([label in [text for *_, text in _CONTOUR.values()] for label in labels], kind="stable")
        place: Any = {"loc": "upper left", "alignment": "left", "handlelength": 2.2}
        regimes = axes.legend(handles=patches, title="regime", bbox_to_anchor=(1.01, 1.02), **place)
        axes.add_artist(regimes)
        below = 0.97 - 0.05 * (len(patches) + 1)
        axes.legend(handles=[lines[i] for i in order], labels=[labels[i] for i in order], bbox_to_anchor=(1.01, below), **place)
        axes.set_title(_title(diagram), loc="left")
    return figure


def regime_names(diagram: xr.Dataset) -> list[str]:
    """The names of the regimes' codes 0, 1, ..."""
    return str(diagram["regime"].attrs["flag_meanings"]).split(", ")


def _contours(axes: Axes, diagram: xr.Dataset, name: str, colour: str, dashes: Any, occupied: Floats) -> Floats:
    """Draw contours at decades, labelled where there is most room; returns `occupied` (n, 2) with the labels' places added."""
    lr, delta = diagram["lr"].values, diagram["one_minus_beta"].values
    shown = np.isfinite(diagram[name].values) & (diagram[name].values > 0)
    if name == "longitudinal":  # tau_par is the time along Gamma only while that motion is overdamped
        shown &= diagram["regime"].values < regime_names(diagram).index("inertial drift")
    if not shown.any():
        return occupied
    values = np.where(shown, np.log10(np.where(shown, diagram[name].values, 1.0)), np.nan).T
    levels = np.arange(max(1.0, np.ceil(np.nanmin(values))), np.floor(np.nanmax(values)) + 1)
    if not len(levels):
        return occupied
    levels = levels[:: -(-len(levels) // _LEVELS)]
    lines = axes.contour(lr, delta, values, levels=levels, colors=colour, linewidths=1.1, linestyles=[dashes])
    spots = []
    for path in lines.get_paths():
        vertices = np.asarray(path.vertices, dtype=np.float64)
        points = vertices[(vertices > 0).all(axis=1)]
        if not len(points):
            continue
        places = _place(axes, *points.T)
        room = np.sqrt(np.square(places[:, None] - occupied).sum(axis=-1)).min(axis=1)
        room = np.minimum(room, np.minimum(places, 1 - places).min(axis=1))
        best = int(np.argmax(room))
        if room[best] > _ROOM:
            spots.append(points[best])
            occupied = np.vstack([occupied, places[best]])
    for text in axes.clabel(lines, fmt=_decade, fontsize=10, inline_spacing=3, manual=spots) if spots else ():
        text.set_rotation(0)
        text.set_path_effects([withStroke(linewidth=2.5, foreground="white")])
    return occupied


def _decade(level: float) -> str:
    return f"$10^{{{level:.0f}}}$"


def _place(axes: Axes, x: Floats, y: Floats) -> Floats:
    """Positions of points as fractions of the axes' width and height, (n, 2)."""
    with np.errstate(divide="ignore"):
        ends = [np.log(limits) for limits in (axes.get_xlim(), axes.get_ylim())]
        places = np.stack([(np.log(v) - low) / (high - low) for v, (low, high) in zip((x, y), ends, strict=True)], axis=-1)
    return np.asarray(places[np.isfinite(places).all(axis=-1)])


def _measured(axes: Axes, measured: xr.Dataset) -> None:
    lr, value = measured["lr"].values, measured["measured"].values
    bars = np.abs(np.stack([measured["measured_low"].values, measured["measured_high"].values]) - value)
    axes.errorbar(lr, value, bars, fmt="o", ms=5, color=BLACK, lw=1.2, capsize=2.5, label="measured optimum, 95 %", zorder=4)
    recommended = measured["recommended"]
    if "effective loss" in recommended["method"].values:
        axes.plot(
            lr,
            recommended.sel({"method": "effective loss"}),
            "s",
            ms=7.5,
            mfc="none",
            color=BLUE,
            label="$L_{eff}$ recommends",
            zorder=5,
        )


def _band(diagram: xr.Dataset) -> str:
    if np.isfinite(diagram.attrs["band"]):
        return f"optimum $\\pm$ {100 * diagram.attrs['band']:.3g} %"
    return "from the optimum to critical damping"


def _title(diagram: xr.Dataset) -> str:
    given = diagram.attrs
    name = "Nesterov" if given["nesterov"] else "heavy ball"
    text = rf"{name}: $c$ = {given['noise']:.3g}, $\mu$ = {given['curvature']:.3g}"
    return text + (f", $h$ = {given['explicit_curvature']:.3g}" if given["explicit_curvature"] else "")
