"""Kept paths as Markov chains, in the names that ArviZ and other tools for chains expect."""

from __future__ import annotations

import xarray as xr

from ..core.errors import InputError


def as_chains(result: xr.Dataset) -> xr.DataTree:
    """The paths of `KeepPaths` as chains: a group `posterior` over (chain, draw), as `arviz` takes it (`az.summary`, `az.ess`).

    A path is a chain, a record time a draw: record times should begin where the process is stationary. Each component is a
    variable of its own name (x, or x0, x1, ...; q, v), each functional one of its. The clock stays as coordinate `time` (draw),
    the paths' numbers as coordinate `path` (chain). Paths that are lost, whose values are not finite, are left out. ArviZ need
    not be installed. Raises InputError for a result without kept paths.

    >>> import sde_momentum as sm
    >>> ou = sm.sde.OrnsteinUhlenbeck(1.0, 1.0)
    >>> result = sm.solve(ou, 0.0, [5.0, 6.0, 7.0], step=0.5, n_paths=4, statistics=[sm.sde.KeepPaths(range(4))])
    >>> dict(as_chains(result)["posterior"].sizes), list(as_chains(result)["posterior"].data_vars)
    ({'chain': 4, 'draw': 3}, ['x'])
    """
    if not isinstance(result, xr.Dataset) or "path_value" not in getattr(result, "variables", ()):
        raise InputError("result", type(result).__name__, "a result of `solve` with KeepPaths among its statistics")
    values = result["path_value"]
    found = (
        {str(name): values.sel(component=name, drop=True) for name in values["component"].values}
        if "component" in values.dims
        else {"x": values}
    )
    own = ("path_value", "path_steps", "path_forced", "path_passage_time")
    others = [name for name in result.data_vars if str(name).startswith("path_") and name not in own]
    found |= {str(name).removeprefix("path_"): result[name] for name in others}
    whole = xr.Dataset(found)
    finite = whole.to_array().notnull().all([d for d in whole.to_array().dims if d != "path"])
    chains = whole.isel(path=finite.values).rename_dims(path="chain", time="draw").reset_index(["path", "time"])
    numbers = {name: (name, range(chains.sizes[name])) for name in ("chain", "draw")}
    return xr.DataTree.from_dict({"posterior": chains.assign_coords(numbers).assign_attrs(result.attrs)})
