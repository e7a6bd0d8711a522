"""`MomentumRule`: its sources, its inverse, the clamp, and what it refuses."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

from sde_momentum.core.errors import InputError
from sde_momentum.predictors.momentum_rule import MomentumRule

RULES = {
    "reference": MomentumRule.from_reference(0.1, 0.9),
    "label noise": MomentumRule.from_geometry(1e-3, 20.0),
    "weight decay": MomentumRule.from_geometry(0.0, 20.0, 1e-3),
    "both": MomentumRule.from_geometry(1e-3, 20.0, 1e-3),
    "both, to a target": MomentumRule.from_geometry(1e-3, 20.0, 1e-3, target=0.1),
    "sweep": MomentumRule.from_sweep({"exponent": 0.61, "prefactor": 0.7}),
    "interpolation": MomentumRule.for_interpolation([0.1, 1.0], 100, 10),
}
every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)


def test_the_reference_rule_transfers_by_the_two_thirds_power():
    assert MomentumRule.from_reference(0.1, 0.9).momentum(0.01) == pytest.approx(0.978456, abs=1e-6)


def test_the_reference_rule_returns_its_own_reference():
    assert MomentumRule.from_reference(0.3, 0.95).momentum(0.3) == pytest.approx(0.95, abs=1e-15)


def test_label_noise_alone_gives_the_closed_form():
    rule = MomentumRule.from_geometry(noise=1e-4, curvature=50.0)
    assert rule.one_minus_beta(1e-3) == pytest.approx((1e-4 * 50) ** (1 / 3) * 1e-3 ** (2 / 3), rel=1e-14)


def test_weight_decay_alone_gives_the_square_root():
    rule = MomentumRule.from_geometry(0.0, 0.0, explicit_curvature=1e-3)
    assert rule.one_minus_beta(0.1) == pytest.approx(2 * np.sqrt(0.1 * 1e-3), rel=1e-14)


def test_both_forces_damp_critically():
    lr, c, mu, h = 1e-2, 1e-4, 50.0, 1e-3
    delta = MomentumRule.from_geometry(c, mu, h).one_minus_beta(lr)
    assert delta**2 == pytest.approx(4 * (lr * h + lr**2 * c * mu / (4 * delta)), rel=1e-13)


def test_a_target_lowers_one_minus_beta_by_its_damping_ratio():
    plain = MomentumRule.from_geometry(1e-4, 50.0).one_minus_beta(1e-3)
    aimed = MomentumRule.from_geometry(1e-4, 50.0, target=0.1).one_minus_beta(1e-3)
    assert aimed / plain == pytest.approx(0.5911550338 ** (2 / 3), rel=1e-9)


def test_aiming_by_the_target_is_fastest_for_the_oscillator_along_gamma():
    """Last step at which |theta| >= x, of the noise-free equation with k(delta), against nearby momenta."""
    c_mu, lr, x = 1.0, 1e-4, 0.1
    best = MomentumRule.from_geometry(c_mu, 1.0, target=x).one_minus_beta(lr)

    def last_step_above(delta):
        k, theta, velocity, last = lr**2 * c_mu / (4 * delta), 1.0, 0.0, 0
        for step in range(int(40 / delta)):
            last = step if abs(theta) >= x else last
            velocity = (1 - delta) * velocity - k * theta
            theta += velocity
        return last

    times = {factor: last_step_above(factor * best) for factor in (0.8, 0.9, 1.01, 1.2, 1.5)}
    assert min(times, key=times.__getitem__) == 1.01  # just on the safe side of the jump at 1
    assert times[0.9] > 1.3 * times[1.01]


@pytest.mark.parametrize(
    "result",
    [
        {"exponent": 0.5, "prefactor": 2.0},
        SimpleNamespace(exponent=0.5, prefactor=2.0),
        xr.Dataset(attrs={"exponent": 0.5, "prefactor": 2.0}),
        xr.Dataset({"exponent": 0.5, "prefactor": 2.0}),
    ],
    ids=["mapping", "object", "dataset attributes", "dataset variables"],
)
def test_a_sweep_may_be_any_object_that_holds_the_fit(result):
    assert MomentumRule.from_sweep(result).momentum(0.01) == pytest.approx(1 - 2 * 0.1)


@every_rule
def test_lr_inverts_momentum(rule):
    lrs = np.array([1e-6, 1e-4, 1e-2])
    # 1 - momentum keeps 1e-16 absolute
    np.testing.assert_allclose(rule.lr(rule.momentum(lrs)), lrs, rtol=1e-9)


@every_rule
def test_momentum_and_one_minus_beta_add_up_to_one(rule):
    lrs = np.geomspace(1e-6, 1e6, 25)
    np.testing.assert_array_equal(rule.momentum(lrs), 1 - rule.one_minus_beta(lrs))
    assert np.all((rule.momentum(lrs) >= 0) & (rule.momentum(lrs) < 1))


@every_rule
def test_the_clamp_starts_where_the_inverse_of_zero_momentum_says(rule):
    edge = rule.lr(0.0)
    assert rule.clamped([0.999 * edge, 1.001 * edge]).tolist() == [False, True]
    assert rule.momentum(1.001 * edge) == 0.0
    assert rule.one_minus_beta(1.001 * edge) == 1.0


@every_rule
def test_scalars_give_floats_and_arrays_give_arrays(rule):
    for answer in (rule.momentum, rule.one_minus_beta):
        assert type(answer(0.01)) is float
        assert answer([[0.01, 0.02]]).shape == (1, 2)
    assert type(rule.lr(0.5)) is float
    assert rule.lr([0.5, 0.6]).shape == (2,)
    assert type(rule.clamped(0.01)) is bool


def test_geometry_may_hold_arrays():
    rule = MomentumRule.from_geometry([1e-4, 0.0], 50.0, [0.0, 1e-3])
    assert rule.momentum(1e-3).shape == (2,)
    assert rule.momentum(1e-3)[1] == MomentumRule.from_geometry(0.0, 50.0, 1e-3).momentum(1e-3)
    assert len(rule.explain(1e-3).splitlines()) == 2


def test_explain_gives_the_answer_where_it_is_not_clamped():
    text = RULES["reference"].explain(0.01)
    assert text == "lr = 0.01: momentum 0.97846 (1 - beta = 0.021544)"


def test_explain_says_why_the_answer_is_clamped():
    first, second = RULES["reference"].explain([0.1, 10.0]).splitlines()
    assert "clamped" not in first
    assert "lr = 10: clamped to momentum 0: the rule asks for 1 - beta = 2.1544" in second
    assert "Above lr = 3.1623 momentum does not help" in second


def test_a_rule_says_where_it_comes_from():
    assert repr(RULES["reference"]) == "MomentumRule(reference: lr = 0.1, momentum = 0.9, exponent 2/3)"
    assert RULES["sweep"].source == "sweep: 1 - beta = 0.7 lr^0.61"
    assert "damping ratio 0.591155" in repr(RULES["both, to a target"])
    assert "noise = [0.1 0.2]" in repr(MomentumRule.from_geometry([0.1, 0.2], 1.0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MomentumRule.from_reference(0.0, 0.9), "lr: given 0.0; allowed: finite numbers > 0"),
        (lambda: MomentumRule.from_reference(0.1, 1.0), "momentum: given 1.0; allowed"),
        (lambda: MomentumRule.from_geometry(-1.0, 1.0), "noise: given -1.0; allowed: finite numbers >= 0"),
        (lambda: MomentumRule.from_geometry(1.0, -1.0), "curvature: given -1.0; allowed"),
        (lambda: MomentumRule.from_geometry(0.0, 1.0), "given both 0; allowed: one of them > 0, or nothing drives"),
        (
            lambda: MomentumRule.from_geometry(1.0, 1.0, target=1.0),
            r"target: given 1.0; .* \(0, 1\), or None",
        ),
        (lambda: MomentumRule.from_geometry([1.0, 2.0], [1.0] * 3), r"shapes: given noise \(2,\), curvature"),
        (
            lambda: MomentumRule.from_sweep({"exponent": 0.5}),
            "result: given dict without 'prefactor'; allowed",
        ),
        (lambda: MomentumRule.from_sweep(3.0), "result: given float without 'exponent'"),
        (
            lambda: MomentumRule.from_sweep({"exponent": -0.5, "prefactor": 1.0}),
            "exponent: given -0.5; allowed",
        ),
        (lambda: RULES["both"].momentum(0.0), "lr: given 0.0; allowed"),
        (lambda: RULES["both"].lr(1.0), "momentum: given 1.0; allowed"),
        (lambda: MomentumRule.from_geometry([1.0, 2.0], 1.0).momentum([0.1] * 3), r"lr: given shape \(3,\)"),
    ],
)
def test_bad_input_is_refused_with_argument_given_and_allowed(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_a_tuned_pair_is_moved_to_other_batch_sizes_by_the_noise():
    """1 - beta ~ (lr^2 / B)^(gamma / 2): eight times the batch halves it at 2/3, and is divided by 8^(1/4) for Nesterov's 1/2."""
    rule = MomentumRule.from_reference(0.1, 0.9, batch_size=64)
    assert rule.one_minus_beta(0.1, batch_size=512) == pytest.approx(0.05)
    assert rule.one_minus_beta(0.1, 64) == rule.one_minus_beta(0.1)
    assert rule.momentum(0.2, 256) == pytest.approx(0.9)
    nesterov = MomentumRule.from_reference(0.1, 0.9, batch_size=64, nesterov=True)
    assert nesterov.one_minus_beta(0.025) == pytest.approx(0.05)
    assert nesterov.one_minus_beta(0.1, 512) == pytest.approx(0.1 / 8**0.25)
    assert MomentumRule.from_reference(0.1, 0.9, exponent=1).one_minus_beta([0.01, 0.02]) == pytest.approx([0.01, 0.02])
    with pytest.raises(InputError, match=r"batch_size: given 8; allowed: none: the rule was made without one"):
        MomentumRule.from_reference(0.1, 0.9).momentum(0.1, 8)
    for name, value in (("batch_size", 0), ("exponent", -1)):
        with pytest.raises(InputError, match=f"{name}: given"):
            MomentumRule.from_reference(0.1, 0.9, **{name: value})
