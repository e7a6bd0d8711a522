"""Results: the same after a file, as a table and as chains, with a unit and a name on every variable."""

import numpy as np
import pytest
import xarray as xr

import sde_momentum as sm
from sde_momentum import sde


def result(equation, start, square, event):
    asked = [
        sde.Functional("square", square),
        sde.Covariance(), sde.Quantiles((0.5,)), sde.Histogram((-1.0, 0.0, 1.0)), sde.Autocovariance(2),
        sde.PassageTimes(event, stop=True), sde.KeepPaths([0, 3, 5]),
    ]  # fmt: skip
    return sm.solve(equation, start, [0.5, 1.0, 1.5], step=0.25, n_paths=40, statistics=asked, progress=False)


CASES = {
    "one component": (sde.OrnsteinUhlenbeck(1.0, 1.0), 0.0, lambda x, t, p: x * x, lambda x, t, p: x - 1.0),
    "two components": (
        sde.Langevin(lambda q, t, p: -q),
        (0.0, 0.0),
        lambda x, t, p: x[0] * x[1],
        lambda x, t, p: x[0] - 1.0,
    ),
}


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES)
def found(request):
    return result(*request.param)


def test_a_file_gives_back_the_same(found, tmp_path):
    found.to_netcdf(tmp_path / "result.nc", engine="h5netcdf")
    again = xr.load_dataset(tmp_path / "result.nc", engine="h5netcdf")
    xr.testing.assert_identical(again, found)
    for name, value in found.attrs.items():
        assert type(again.attrs[name]) is type(value) or np.array_equal(again.attrs[name], value), name


def test_no_dim_empties_the_table(found):
    assert all(found.sizes.values())
    one = found[["mean", "mean_se", "variance", "faulty"]].to_dataframe()
    assert len(one) == 3 * (found.sizes.get("component", 1))
    assert len(found.to_dataframe()) > 0


def test_every_variable_has_a_unit_and_a_name(found):
    for name, variable in found.variables.items():
        if variable.dtype.kind in "fiu":
            assert variable.attrs.get("units"), name
        if name in found.data_vars:
            assert variable.attrs.get("long_name"), name


def test_kept_paths_are_chains(found):
    chains = sde.as_chains(found)["posterior"]
    names = ["x"] if "component" not in found.coords else ["q", "v"]
    assert list(chains.data_vars) == [*names, "square"]
    assert dict(chains.sizes) == {"chain": 3, "draw": 3}
    assert all(variable.dims == ("chain", "draw") for variable in chains.data_vars.values())
    np.testing.assert_array_equal(chains["path"], [0, 3, 5])
    np.testing.assert_array_equal(chains["time"], found["time"])
    expected = found["path_value"] if len(names) == 1 else found["path_value"].sel(component="v")
    np.testing.assert_array_equal(chains[names[-1]], expected)


def test_lost_paths_are_no_chains():
    leaving = sm.SDE(lambda x, t, p: 0.0, lambda x, t, p: 1.0, domain=(-1.0, 1.0))
    with pytest.warns(UserWarning, match="were lost"):
        found = sm.solve(leaving, 0.0, [1.0, 2.0], step=0.25, n_paths=20, statistics=[sde.KeepPaths(range(20))])
    lost = set(found["fault_path"].values.tolist())
    assert lost
    np.testing.assert_array_equal(sde.as_chains(found)["posterior"]["path"], sorted(set(range(20)) - lost))


def test_chains_need_kept_paths():
    with pytest.raises(sm.InputError, match="result: given Dataset; allowed: a result of `solve` with KeepPaths"):
        sde.as_chains(xr.Dataset())
