"""The universal curve of a problem, a start and a target: simulated, or read from a folder that keeps such curves."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from ...core.arguments import by_annotations
from ...core.errors import InputError, check_positive
from ...core.files import unsealed
from ...core.progress import track
from ...dynamics.critical_course import critical_course
from ...problems.problem import Array, Problem, as_problem
from ..drift_path import DriftPath
from ..target import Target
from .search import CurveSearch, ScaledCourse, common_noise
from .settings import CurveSettings
from .universal_curve import UniversalCurve

_FORMAT = 9  # of the file


@by_annotations
def universal_curve(
    problem: Problem,
    start: ArrayLike,
    target: Target | tuple[str, float] = ("test_error", 0.1),
    *,
    scaled_lr: float | None = None,
    settings: CurveSettings | None = None,
    store: str | Path | None = None,
    workers: int = -1,
    progress: bool | None = None,
) -> UniversalCurve:
    """Simulate the critical limit until the best D and the cliff below it are found [theory: Critical limit, eq. 7.9].

    It is the mean of the metric over the runs that has to meet the target.

    Args:
        problem: the training problem
        start: a point of Gamma, (N,)
        target: (metric, fraction): the metric's mean stays below this fraction of its start; it must not vanish on Gamma
        scaled_lr: c^2 eta of a curve at finite lr [theory: Finite learning rate, eq. 8.5]; None: the limit lr -> 0. Refused
            where the problem's critical limit has no correction at finite lr, as in a `Valley`
        settings: number of runs, precision, seed, grid (None: the defaults of `CurveSettings`)
        store: folder that keeps curves; one made before from the same arguments is read from it
        workers: threads, -1 for all cores; the numbers do not depend on it
        progress: a bar with the time left; None: on a terminal after a second, elsewhere a line every ten

    Raises:
        InputError: for a value out of range, or a target that the mean does not reach.

    >>> import sde_momentum as sm
    >>> valley = sm.Valley.balanced(8, curvature=1.0, coupling=0.0)
    >>> curve = sm.universal_curve(valley, valley.start(1.0))
    >>> best = curve.recommend(lr=1e-3, noise=1e-3)
    >>> bool(best.shortest_time < best.time < 1.06 * best.shortest_time)
    True
    """
    goal, problem = Target.of(target), as_problem(problem)
    path = DriftPath(problem, np.asarray(start), problem.metric_name(goal.metric, "target"), goal.fraction)
    return curve_along(path, scaled_lr, settings or CurveSettings(), store, workers, progress)


def curve_along(
    path: DriftPath,
    scaled_lr: float | None,
    how: CurveSettings,
    store: str | Path | None,
    workers: int,
    progress: bool | None,
) -> UniversalCurve:
    """`universal_curve` of the problem, start and target of a drift path."""
    problem = path.problem
    if scaled_lr is not None:
        check_positive(scaled_lr, "scaled_lr")
        if not critical_course(problem).corrected_at_finite_lr:
            raise InputError("scaled_lr", scaled_lr, f"None: the critical limit of {problem.name} has no correction at finite lr")
    made_of = json.dumps(_key(path, scaled_lr, how), sort_keys=True, default=str)
    file = None if store is None else Path(store) / f"curve-{hashlib.sha256(made_of.encode()).hexdigest()[:16]}.nc"
    if file is not None and file.exists():
        return read_curve(file, problem, path.start)
    with track("universal curve", 16, progress) as advance:
        courses = CurveSearch(path, scaled_lr, how, workers, advance).run()
    curve = UniversalCurve(_dataset(courses, path, made_of), path)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        curve.save(file)
    return curve


def universal_curve_seconds(path: DriftPath, scaled_lr: float | None, workers: int = -1) -> float:
    """Estimated computing time of `universal_curve` with the default settings, from a few steps of its first simulation."""
    return CurveSearch(path, scaled_lr, CurveSettings(), workers, lambda _: None).seconds()


def read_curve(file: str | Path, problem: Problem, start: Array) -> UniversalCurve:
    """Read a curve written by `UniversalCurve.save`, of the same problem and start. Raises InputError for another file."""
    try:
        _, content = unsealed(Path(file).read_bytes())  # type: ignore[misc]
        data = xr.load_dataset(io.BytesIO(content), engine="h5netcdf")
        made_of: dict[str, Any] = json.loads(data.attrs["made_of"])
    except Exception:  # whatever the reader makes of a broken file, the user has one thing to do about it
        raise InputError("curve", file, "an intact file written by UniversalCurve.save") from None
    path = DriftPath(problem, start, made_of["metric"], made_of["fraction"])
    same = json.loads(json.dumps(problem.settings(), default=str)) == made_of["problem"]
    same = same and problem.metric_fingerprint(path.metric) == made_of.get("metric_values")
    if not same or _digest(path.start) != made_of["start"]:
        raise InputError("curve", file, "the curve of this problem and start")
    return UniversalCurve(data, path)


def _key(path: DriftPath, scaled_lr: float | None, settings: CurveSettings) -> dict[str, Any]:
    """Everything that determines the numbers of a curve."""
    return {
        "problem": path.problem.settings(),
        "start": _digest(path.start),
        "metric": path.metric,
        "metric_values": path.problem.metric_fingerprint(path.metric),
        "fraction": path.fraction,
        "scaled_lr": scaled_lr,
        "format": _FORMAT,
    } | settings.key(path.problem.n_outputs)


def _digest(start: Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(start).tobytes()).hexdigest()


def _dataset(courses: list[ScaledCourse], path: DriftPath, made_of: str) -> xr.Dataset:
    times = np.array([one.time for one in courses])
    times[:, 0] *= common_noise(courses)
    here, both = ("point",), ("point", "record")
    unit, clock = "curvature^(1/3)", "curvature^(-1/3)"
    return xr.Dataset(
        {
            "time": (here, times[:, 0], {"units": clock, "long_name": "tau = (c lr^2)^(1/3) times the steps to the target"}),
            "time_se": (here, times[:, 1], {"units": clock}),
            "clock": (both, np.stack([one.clock for one in courses]), {"units": clock, "long_name": "tau"}),
            "mean": (both, np.stack([one.course.mean for one in courses]), {"long_name": f"mean {path.metric}"}),
            "mean_se": (both, np.stack([one.course.mean_se for one in courses])),
            "n_seeds": (here, [one.n_runs for one in courses]),
        },
        coords={"scaled_one_minus_beta": ("point", [one.scaled for one in courses], {"units": unit})},
        attrs={"made_of": made_of, "theory": "Critical limit"},
    )
