"""The matrix-free estimator against the library's exact geometry, torch's own Hessians, and the law of label noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sensing_module import Sensing, data_of, half_square
from torch import nn

import sde_momentum as sm
from derivations.models.two_layer_tanh import two_layer_tanh
from sde_momentum.core.errors import InputError
from sde_momentum.training import EstimatorSettings, krylov
from sde_momentum.training.output_map import OutputMap

pytestmark = pytest.mark.usefixtures("one_torch_thread")


class Student(nn.Module):
    def __init__(self, w, d=5, h=20):
        super().__init__()
        self.inner = nn.Parameter(torch.tensor(w[: d * h].reshape(h, d)))
        self.outer = nn.Parameter(torch.tensor(w[d * h :]))

    def forward(self, x):
        return torch.tanh(x @ self.inner.T) @ self.outer


def _sensing():
    problem = sm.MatrixSensing(6, 1, 20)
    w = problem.interpolating_start()
    return problem, w, Sensing(problem, w), data_of(problem)


def _student():
    model = two_layer_tanh()
    w, problem = model.interpolating_point(), model.compile()
    inputs = torch.tensor(np.random.default_rng(0).standard_normal((40, 5)))  # as two_layer_tanh draws them
    # the direction of steepest tr H is not convex here; a part of the way along which the exact geometry is
    return problem, w, Student(w), (inputs, torch.tensor(problem.targets))


CASES = {"matrix sensing": _sensing, "teacher and student": _student}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    problem, w, model, data = CASES[request.param]()
    point = sm.ManifoldPoint(problem, w)
    basis = np.linalg.eigh(point.hessian)[1]
    return problem, point, model, data, point.tangent @ basis[:, -1] + 0.3 * point.tangent @ basis[:, len(basis) // 2]


def estimate(model, data, *, displacement=None, batch_size=None, follow=0, seed=0, **settings):
    """At lr = 0.05, with half the mean square as loss and label noise of 0.1."""
    return sm.estimate_timescales(
        model, half_square, data, lr=0.05, label_noise=0.1, batch_size=batch_size, follow=follow, seed=seed,
        displacement=None if displacement is None else torch.tensor(displacement), settings=EstimatorSettings(**settings),
    )  # fmt: skip


def test_with_every_unit_vector_as_a_probe_it_is_the_exact_geometry(case):
    _, point, model, data, displacement = case
    for given in (None, displacement):
        found = estimate(model, data, displacement=given, n_draws=2, rank_tolerance=1e-6)
        assert found.trace_hessian == pytest.approx(point.trace_hessian, rel=1e-9)
        assert found.gradient_norm == pytest.approx(np.linalg.norm(point.gradient), rel=1e-6)
        assert found.eigenvalues == pytest.approx(point.eigenvalues[:5], rel=1e-6)
        exact = point.curvature(point.gradient if given is None else displacement)
        assert found.curvature == pytest.approx(exact, rel=1e-5)
        assert (found.trace_hessian_se, found.gradient_norm_se, found.curvature_se) == (0, 0, 0)


@pytest.mark.parametrize("batch_size", [None, 8])
def test_noise_is_sigma_squared_over_the_batch(case, batch_size):
    """Two-sided at 3.3 standard errors (0.1 %) each."""
    problem, _, model, data, _ = case
    found = estimate(model, data, batch_size=batch_size, n_draws=200)
    expected = 0.1**2 / (batch_size or problem.n_outputs)
    assert found.noise == pytest.approx(expected, abs=3.3 * found.noise_se)
    assert found.noise_se < 0.15 * expected
    assert found.label_share == pytest.approx(1, abs=1e-6)


def test_few_probes_are_right_within_their_standard_errors(case):
    """Over 8 seeds the mean error in standard errors is of mean 0 and variance 1 / 8: 3.5 of those is 0.05 %.

    The mean square of the 16 errors is 1 within 1 / sqrt(8); few probes make it wider, and tr H and mu share their seeds.
    """
    _, point, model, data, displacement = case
    errors = []
    for seed in range(8):
        few = dict(n_probes=15, n_draws=2, n_eigenvalues=1, n_lanczos=4, rank_tolerance=1e-6)
        found = estimate(model, data, displacement=displacement, seed=seed, **few)
        mu = point.curvature(displacement)
        errors.append(
            [(found.trace_hessian - point.trace_hessian) / found.trace_hessian_se, (found.curvature - mu) / found.curvature_se]
        )
    assert np.abs(np.mean(errors, axis=0) * 8**0.5).max() < 3.5
    assert 0.3 < np.sqrt(np.square(errors).mean()) < 2


def test_momentum_is_the_rule_at_exact_c_and_mu(case):
    problem, point, model, data, displacement = case
    found = estimate(model, data, displacement=displacement, n_draws=200)
    exact = sm.MomentumRule.from_geometry(0.1**2 / problem.n_outputs, point.curvature(displacement)).one_minus_beta(0.05)
    assert found.one_minus_beta == pytest.approx(exact, abs=3.3 * found.one_minus_beta_se)
    assert found.one_minus_beta == pytest.approx(exact, rel=0.1)
    assert found.rule.momentum(0.05) == pytest.approx(found.momentum)
    assert found.tau_par == pytest.approx(4 * found.one_minus_beta**2 / (0.05**2 * found.noise * found.curvature))


def test_conjugate_gradients_find_the_same_tangent_space(case, monkeypatch):
    _, point, model, data, displacement = case
    monkeypatch.setattr(krylov, "DENSE", 0)
    found = estimate(model, data, displacement=displacement, n_draws=2, n_lanczos=10, rank_tolerance=1e-4)
    assert found.projection_error <= 1e-8
    assert found.curvature == pytest.approx(point.curvature(displacement), rel=1e-3)


def test_following_the_drift_finds_the_curvature_at_the_flattest_point():
    problem, w, model, data = _sensing()
    flat = sm.drift_flow(problem, w).flattest
    found = estimate(model, data, follow=80, n_draws=2)
    assert found.flatter_trace_hessian == pytest.approx(flat.trace_hessian, rel=1e-3)
    assert found.curvature == pytest.approx(flat.curvature(w - flat.w), rel=0.02)
    assert found.trace_hessian == pytest.approx(float(problem.trace_hessian(w)))  # of the model, which stands where it stood


def test_the_scale_of_the_loss_is_that_of_lr():
    """Twice the loss at half the lr is the same training."""
    _, _, model, data = _sensing()
    one = sm.estimate_timescales(model, half_square, data, lr=0.1, label_noise=0.1)
    two = sm.estimate_timescales(model, nn.MSELoss(), data, lr=0.05, label_noise=0.1)
    assert two.one_minus_beta == pytest.approx(one.one_minus_beta, rel=1e-9)
    assert two.trace_hessian == pytest.approx(2 * one.trace_hessian, rel=1e-9)


class _Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 3, batch_first=True)

    def forward(self, x):
        return self.lstm(x)[0][:, -1]


def _small_networks():
    torch.manual_seed(0)
    conv = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3)).double()
    mlp = nn.Sequential(nn.Linear(4, 5), nn.GELU(), nn.LayerNorm(5), nn.Linear(5, 3)).double()
    attention = nn.Sequential(nn.TransformerEncoderLayer(4, 2, 6, 0.0, batch_first=True), nn.Flatten(), nn.Linear(12, 3)).double()
    recurrent = nn.Sequential(_Recurrent().double(), nn.Linear(3, 3).double())
    return {
        "conv": (conv.eval(), (1, 4, 4)),
        "mlp": (mlp, (4,)),
        "attention": (attention.eval(), (3, 4)),
        "recurrent": (recurrent, (3, 4)),
    }


NETWORKS = _small_networks()


@pytest.fixture(params=NETWORKS)
def small(request):
    model, shape = NETWORKS[request.param]
    torch.manual_seed(1)
    inputs, targets = torch.randn(5, *shape, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    return model, OutputMap(model, half_square, inputs, targets, chunk_size=2), inputs, targets


def test_products_are_derivatives_of_the_outputs(small):
    """Central differences of the next lower order; z = f / sqrt(P)."""
    model, z, inputs, _ = small
    torch.manual_seed(2)
    v, x, s = (torch.randn(z.n_parameters, dtype=torch.float64) for _ in range(3))
    u = torch.randn(z.n_outputs, dtype=torch.float64)

    def shifted(function, direction, h=1e-5):
        values = []
        for sign in (1, -1):
            z.move(sign * h * direction)
            values.append(function())
            z.move(-sign * h * direction)
        return (values[0] - values[1]) / (2 * h)

    scale = z.n_outputs**-0.5
    close = {"rtol": 1e-6, "atol": 1e-7}
    assert torch.allclose(z.whiten(model(inputs).detach()), model(inputs).detach().ravel() * scale)
    assert torch.allclose(z.push(v), shifted(lambda: z.outputs().ravel() * scale, v), **close)
    assert torch.allclose(z.pull(u) @ v, u @ z.push(v), rtol=1e-10)
    assert torch.allclose(z.second(v, x), shifted(lambda: z.push(v), x), **close)
    assert torch.allclose(z.contract_hessians(u, v) @ x, u @ z.second(v, x), rtol=1e-9)
    assert z.disagreement(v) < 1e-9
    assert torch.allclose(z.third(v, x, s), shifted(lambda: z.second(v, x), s), rtol=1e-5, atol=1e-6)


def test_residual_is_the_gradient_of_the_loss(small):
    model, z, inputs, targets = small
    assert torch.allclose(z.pull(z.residual()), z.gradient(inputs, targets), rtol=1e-9, atol=1e-12)
    assert float(z.residual().square().sum()) / 2 == pytest.approx(float(half_square(model(inputs), targets).detach()))


def _classifier(flips, n=12, classes=4):
    """One-hot inputs and logits at the log of the expected labels: on Gamma."""
    torch.manual_seed(0)
    labels = torch.randint(classes, (n,))
    model = nn.Linear(n, classes, bias=False, dtype=torch.float64)
    soft = (1 - flips) * nn.functional.one_hot(labels, classes).double() + flips / classes
    model.weight.data = soft.log().T.contiguous()
    return model, (torch.eye(n, dtype=torch.float64), labels), soft


@pytest.mark.parametrize("batch_size", [None, 3])
def test_flipped_labels_under_cross_entropy_have_noise_one_over_batch(batch_size):
    """The covariance of softmax - label is the curvature of the loss, so c = 1 / B. 3.3 standard errors: 0.1 %."""
    model, data, soft = _classifier(0.2)
    found = sm.estimate_timescales(
        model,
        nn.CrossEntropyLoss(),
        data,
        lr=0.1,
        label_noise=0.2,
        batch_size=batch_size,
        settings=EstimatorSettings(n_draws=400),
    )
    hessian = torch.func.hessian(lambda w: nn.functional.cross_entropy(data[0] @ w.T, soft))(model.weight.detach())
    n = model.weight.numel()
    exact = torch.linalg.eigvalsh(hessian.reshape(n, n)).flip(0)
    assert found.trace_hessian == pytest.approx(float(exact.sum()), rel=1e-9)
    assert found.eigenvalues == pytest.approx(exact[:5].tolist(), rel=1e-9)
    assert found.noise == pytest.approx(1 / (batch_size or 12), abs=3.3 * found.noise_se)
    assert found.noise_se < 0.1 * found.noise
    assert found.label_share == pytest.approx(1)
    assert [text.split(":")[0] for text in found.failed] == ["no motion along Gamma"]


def _failures(model, loss, data, n_probes=64, **options):
    settings = EstimatorSettings(n_draws=4, n_probes=n_probes)
    return "\n".join(sm.estimate_timescales(model, loss, data, lr=0.01, settings=settings, **options).failed)


def test_it_says_which_assumption_fails():
    torch.manual_seed(0)
    x, y = torch.randn(12, 4), torch.randint(3, (12,))
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 3))
    text = _failures(model, nn.CrossEntropyLoss(), (x, y), label_noise=0.0)
    for start in ("BatchNorm in train mode", "dropout in train mode", "no label noise", "cross-entropy without label noise"):
        assert start in text
    assert "not interpolating: the squared residual" in text
    assert all(module.training for module in model.modules())  # left as it was
    noisy = _failures(model.eval(), half_square, (x, torch.randn(12, 3)), label_noise=0.01, batch_size=3)
    assert "of the gradient noise comes from batch sampling" in noisy
    assert "BatchNorm" not in noisy
    smoothed = _failures(model, nn.CrossEntropyLoss(label_smoothing=0.1), (x, y), label_noise=0.0)
    assert "cross-entropy without label noise" not in smoothed


def test_a_direction_that_is_not_convex_and_a_large_lr_are_named():
    _, _, model, data = _student()
    assert "tr H is not convex along this direction" in _failures(model, half_square, data, label_noise=0.1)
    _, _, model, data = _sensing()
    found = sm.estimate_timescales(model, half_square, data, lr=1.0, label_noise=0.1, settings=EstimatorSettings(n_draws=4))
    assert "above the stability limit" in found.failed[-1]


def test_the_direction_of_the_drift_lost_in_noise_is_named():
    _, _, model, data = _student()
    assert "the drift's direction is not resolved by 2 probes" in _failures(model, half_square, data, label_noise=0.1, n_probes=2)


class _WrongForward(nn.Module):
    """A square whose forward derivative is wrong and whose backward pass is right."""

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(x):
            return x * x

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)
            ctx.save_for_forward(*inputs)

        @staticmethod
        def backward(ctx, g):
            return 2 * ctx.saved_tensors[0] * g

        @staticmethod
        def jvp(ctx, t):
            return 3 * ctx.saved_tensors[0] * t

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, x):
        return self.Square.apply(self.linear(x)).sum(1)


def test_a_layer_with_wrong_derivatives_is_named():
    torch.manual_seed(0)
    model, x = _WrongForward().double(), torch.randn(6, 4, dtype=torch.float64)
    data = (x, model(x).detach())
    assert "derivatives of a layer disagree" in _failures(model, half_square, data, label_noise=0.1)


def test_the_model_is_left_alone():
    _, _, model, data = _sensing()
    half_square(model(data[0]), data[1] + 1).backward()
    before = [(p.detach().clone(), p.grad.clone()) for p in model.parameters()]
    estimate(model, data, follow=2, n_draws=2)
    for p, (value, gradient) in zip(model.parameters(), before, strict=True):
        assert torch.equal(p, value)
        assert torch.equal(p.grad, gradient)


def test_datasets_loaders_and_tensors_give_the_same_and_seeds_decide():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1))
    x = torch.randn(12, 4)
    y = model(x).detach()
    dataset = torch.utils.data.TensorDataset(x, y)
    settings = EstimatorSettings(n_probes=8, n_draws=4)
    options = {"lr": 0.1, "label_noise": 0.1, "settings": settings}
    forms = [(x, y), dataset, torch.utils.data.DataLoader(dataset, batch_size=5)]
    found = [sm.estimate_timescales(model, half_square, data, **options) for data in forms]
    assert found[0] == found[1] == found[2]
    assert sm.estimate_timescales(model, half_square, (x, y), **options, seed=1) != found[0]
    part = sm.estimate_timescales(model, half_square, dataset, **{**options, "settings": replace(settings, n_samples=6)})
    assert (part.n_samples, part.n_outputs) == (6, 6)


def test_the_result_prints_and_is_plain():
    _, _, model, data = _sensing()
    found = estimate(model, data, n_draws=4)
    assert f"momentum        {found.momentum:.6g} at lr = 0.05" in str(found)
    plain = found.to_dict()
    assert plain["eigenvalues"] == list(found.eigenvalues)
    assert all(isinstance(value, float | int | str | list | None) for value in plain.values())


def test_curvlinops_finds_the_same_top_eigenvalue_and_trace():
    operators = pytest.importorskip("curvlinops")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    x, y = torch.randn(10, 4, dtype=torch.float64), torch.randint(3, (10,))
    parameters = list(model.parameters())
    ggn = operators.GGNLinearOperator(model, nn.CrossEntropyLoss(), parameters, [(x, y)])
    dense = (ggn @ torch.eye(ggn.shape[1], dtype=torch.float64)).numpy()
    found = sm.estimate_timescales(
        model, nn.CrossEntropyLoss(), (x, y), lr=0.1, label_noise=0.0, settings=EstimatorSettings(n_draws=2)
    )
    assert found.eigenvalues[0] == pytest.approx(np.linalg.eigvalsh(dense)[-1], rel=1e-8)
    assert found.trace_hessian == pytest.approx(np.trace(dense), rel=1e-9)


class _Opaque(nn.Module):
    """A layer of the user's own, with a backward pass only."""

    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return 2 * x

        @staticmethod
        def backward(ctx, g):
            return 2 * g

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 1)

    def forward(self, x):
        return self.Double.apply(self.linear(x))


MODEL = nn.Linear(2, 1)
DATA = (torch.ones(3, 2), torch.ones(3, 1))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"lr": 0.0}, "lr: given 0.0; allowed: finite numbers > 0"),
        ({"label_noise": -1.0}, "label_noise: given -1.0; allowed: finite numbers >= 0"),
        ({"batch_size": 4}, "batch_size: given 4; allowed: at most the 3 samples"),
        ({"displacement": torch.ones(2)}, "displacement: given shape .2,.; allowed: shape .3,."),
        ({"loss": nn.MSELoss(reduction="sum")}, "loss: given .*allowed: the mean of a loss of each sample"),
        ({"loss": nn.MSELoss(reduction="none")}, "loss: given shape .*allowed: one number"),
        ({"loss": nn.L1Loss()}, "loss: given no curvature"),
        ({"data": "digits"}, "data: given str; allowed: .inputs, targets., two tensors"),
        ({"data": (torch.ones(3, 2), torch.ones(2, 1))}, "data: given 3 inputs and 2 targets"),
        (
            {"data": (torch.ones(3, 2), torch.ones(3, dtype=torch.int64)), "label_noise": 2.0},
            "label_noise: given 2.0",
        ),
        ({"model": _Opaque()}, "model: given .*allowed: layers with forward-mode derivatives"),
        ({"model": nn.Linear(2, 1).requires_grad_(False)}, "model: given no parameter that requires a gradient"),
    ],
)
def test_bad_input_says_what_is_allowed(change, text):
    options = {"model": MODEL, "loss": nn.MSELoss(), "data": DATA, "lr": 0.1, "label_noise": 0.1, **change}
    with pytest.raises(InputError, match=text):
        sm.estimate_timescales(options.pop("model"), options.pop("loss"), options.pop("data"), **options)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"n_probes": 1}, "n_probes: given 1; allowed: a whole number >= 2"),
        ({"n_lanczos": 4}, "n_lanczos: given 4; allowed: a whole number >= 5"),
        ({"tolerance": -1.0}, "tolerance: given -1.0; allowed: finite numbers >= 0"),
        ({"rank_tolerance": 0.0}, "rank_tolerance: given 0.0; allowed: finite numbers > 0"),
    ],
)
def test_bad_settings_say_what_is_allowed(change, text):
    with pytest.raises(InputError, match=text):
        EstimatorSettings(**change)
