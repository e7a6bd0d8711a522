"""The matrix-free estimator against the library's exact geometry, torch's own Hessians, and the law of label noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sensing_module import Sensing, data_of, half_square
from torch import nn
from torch.utils.checkpoint import checkpoint

import sde_momentum as sm
from derivations.models.two_layer_tanh import two_layer_tanh
from sde_momentum.core.errors import InputError
from sde_momentum.training import EstimatorSettings, krylov
from sde_momentum.training.derivative_check import derivative_gap
from sde_momentum.training.model_function import ModelFunction
from sde_momentum.training.output_map import OutputMap
from sde_momentum.training.rows import Rows

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
        displacement=None if displacement is None else torch.tensor(displacement),
        settings=EstimatorSettings(**{"vary": False, **settings}),
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
    settings = EstimatorSettings(vary=False)
    one = sm.estimate_timescales(model, half_square, data, lr=0.1, label_noise=0.1, settings=settings)
    two = sm.estimate_timescales(model, nn.MSELoss(), data, lr=0.05, label_noise=0.1, settings=settings)
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
    assert derivative_gap(ModelFunction(model), inputs) < 1e-6
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
        settings=EstimatorSettings(n_draws=400, vary=False),
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


def test_a_module_or_parameter_that_is_used_twice_stays_whole():
    torch.manual_seed(0)
    shared, act = nn.Linear(4, 4), nn.PReLU()
    model = nn.Sequential(shared, act, shared, act, nn.Linear(4, 1)).double()
    tied = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Linear(4, 1)).double()
    tied[2].weight = tied[0].weight
    x = torch.randn(3, 4, dtype=torch.float64)
    for net in (model, tied):
        parameters = list(net.parameters())
        found = [estimate(net, (x, net(x).detach()), n_draws=2) for _ in range(2)]
        assert found[0] == found[1]
        assert all(a is b and a.requires_grad for a, b in zip(parameters, net.parameters(), strict=True))
        jacobian = torch.func.jacrev(lambda w, net=net: torch.func.functional_call(net, w, x))(dict(net.named_parameters()))
        exact = sum(float(j.detach().square().sum()) for j in jacobian.values()) / 3
        assert found[0].trace_hessian == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("weights", [(2.0, 2.0, 2.0), None])
def test_equal_class_weights_are_no_weights(weights):
    """The weighted mean over classes divides by the sum of the weights: c = 1 / n at any of them."""
    torch.manual_seed(0)
    x, y = torch.randn(6, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 1, 0, 2])
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3, bias=False)).double()
    soft = 0.7 * nn.functional.one_hot(y, 3) + 0.1
    net[2].weight.data = torch.linalg.lstsq(torch.tanh(net[0](x)).detach(), soft.double().log()).solution.T
    loss = nn.CrossEntropyLoss(None if weights is None else torch.tensor(weights, dtype=torch.float64))
    settings = EstimatorSettings(n_draws=256, vary=False)
    found = sm.estimate_timescales(net, loss, (x, y), lr=0.02, label_noise=0.3, settings=settings)
    assert found.noise == pytest.approx(1 / 6, abs=3.3 * found.noise_se)
    p = torch.softmax(net(x), 1).detach()
    jacobian = torch.func.jacrev(lambda w: torch.func.functional_call(net, w, x))(dict(net.named_parameters()))
    hessian = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    exact = sum(float(torch.einsum("nkl,nka,nla->", hessian, j.flatten(2), j.flatten(2)).detach()) for j in jacobian.values()) / 6
    assert found.trace_hessian == pytest.approx(exact, rel=1e-9)


def test_losses_that_are_no_means_are_refused_also_for_one_row_and_sorted_classes():
    torch.manual_seed(0)
    x, y = torch.randn(12, 4), torch.arange(12) // 4
    net = nn.Linear(4, 3)
    for loss, data in (
        (nn.CrossEntropyLoss(torch.tensor([1.0, 2.0, 3.0])), (x, y)),
        (nn.CrossEntropyLoss(reduction="sum"), (x[:1], y[:1])),
    ):
        with pytest.raises(InputError, match=r"loss: given .*allowed: the mean of a loss of each sample"):
            sm.estimate_timescales(net, loss, data, lr=0.1, label_noise=0.1)


@pytest.mark.parametrize(
    "norm", [nn.BatchNorm2d(2, track_running_stats=False), nn.BatchNorm1d(32, track_running_stats=False)], ids=["2d", "1d"]
)
@pytest.mark.parametrize("chunk_size", [3, 1])
def test_outputs_that_depend_on_other_samples_are_refused_by_name(norm, chunk_size):
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 2, 3, padding=1), norm, nn.Flatten()]
    model = nn.Sequential(*(layers if isinstance(norm, nn.BatchNorm2d) else [layers[0], layers[2], norm]), nn.Linear(32, 1))
    x = torch.randn(6, 1, 4, 4)
    settings = EstimatorSettings(chunk_size=chunk_size)
    with pytest.raises(InputError, match=rf"model: given {type(norm).__name__} without running statistics: an output depends"):
        sm.estimate_timescales(model.eval(), nn.MSELoss(), (x, torch.zeros(6, 1)), lr=0.1, label_noise=0.1, settings=settings)


class _Gives(nn.Module):
    """A small network whose forward gives its outputs in some form."""

    def __init__(self, form):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.form = nn.Linear(4, 3), nn.Linear(3, 1), form

    def forward(self, x):
        return self.form(self, x, self.b(self.a(x).tanh()))


def _rest(model, x, f):
    return checkpoint(lambda t: model.b(model.a(t).tanh()), x, use_reentrant=False)


FORMS = {
    "a tuple": (lambda m, x, f: (f, x), torch.float32, "model: given outputs of type tuple; allowed: a tensor, or a dictionary"),
    "random": (lambda m, x, f: f + torch.rand(1), torch.float32, "model: given outputs that differ from call to call"),
    "NaN": (lambda m, x, f: f / 0 * 0, torch.float32, "model: given outputs that are not finite"),
    "a checkpoint": (
        _rest,
        torch.float32,
        "model: given .*allowed: layers with forward-mode derivatives .*no activation checkpointing",
    ),
    "float16": (lambda m, x, f: f, torch.float16, r"model: given parameters of torch.float16; allowed: float32 or float64"),
    "bfloat16": (lambda m, x, f: f, torch.bfloat16, r"model: given parameters of torch.bfloat16; allowed: float32 or float64"),
}


@pytest.mark.parametrize("form", FORMS)
def test_what_cannot_be_measured_is_refused_by_name(form):
    make, dtype, text = FORMS[form]
    x, y = torch.randn(6, 4).to(dtype), torch.randn(6, 1).to(dtype)
    with pytest.raises(InputError, match=text):
        sm.estimate_timescales(_Gives(make).to(dtype), nn.MSELoss(), (x, y), lr=0.02, label_noise=0.1)


def test_dictionaries_in_and_out_are_the_same_model():
    torch.manual_seed(1)
    x, y = torch.randn(6, 4), torch.randn(6, 1)
    settings = EstimatorSettings(n_draws=2, vary=False)
    forms = [lambda m, x, f: f, lambda m, x, f: {"logits": f, "x": x}, lambda m, x, f: (f, None)]
    found = [
        sm.estimate_timescales(_Gives(form), nn.MSELoss(), ({"x": x}, y), lr=0.02, label_noise=0.1, settings=settings)
        for form in forms
    ]
    assert found[0] == found[1] == found[2]
    assert found[0] == sm.estimate_timescales(_Gives(forms[0]), nn.MSELoss(), (x, y), lr=0.02, label_noise=0.1, settings=settings)
    classes = [{"x": x, "labels": torch.randint(2, (6, 3))}]
    with pytest.raises(InputError, match=r"data: given dictionaries with labels of shape .6, 3."):
        sm.estimate_timescales(_Gives(forms[0]), nn.MSELoss(), classes, lr=0.02, label_noise=0.1)


def test_every_token_counts_as_a_sample_and_padding_does_not():
    """A model of tokens, each by itself, is the same as that of its tokens as samples; half of the targets stand for all."""
    torch.manual_seed(0)
    tokens, y = torch.randint(5, (4, 4)), torch.randint(3, (4, 4))
    y[:, -1] = -100
    model = nn.Sequential(nn.Embedding(5, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    settings = EstimatorSettings(n_draws=32, n_probes=24, vary=False)
    options = {"lr": 0.02, "label_noise": 0.3, "settings": settings}
    found = sm.estimate_timescales(model, nn.CrossEntropyLoss(), (tokens, y), **options)
    plain = sm.estimate_timescales(model, nn.CrossEntropyLoss(), (tokens[:, :-1].flatten(), y[:, :-1].flatten()), **options)
    assert found.n_outputs == plain.n_outputs == 4 * 3 * 3
    assert found.trace_hessian == pytest.approx(plain.trace_hessian, rel=1e-12)
    assert found.eigenvalues == pytest.approx(plain.eigenvalues, rel=1e-9)
    assert found.noise == pytest.approx(plain.noise, abs=3.3 * np.hypot(found.noise_se, plain.noise_se))
    options["settings"] = EstimatorSettings(n_targets=5, n_draws=2, n_probes=2, vary=False)
    one, other = (
        sm.estimate_timescales(net, nn.CrossEntropyLoss(), (tokens, y), **options)
        for net in (model, nn.Sequential(model, _Transposed()))
    )
    assert one == other  # classes last, and second
    assert one.n_outputs == 5 * 3


@pytest.mark.parametrize("shape", [(3,), (3, 3)])
def test_as_many_tokens_as_classes_are_refused_for_nothing_tells_which_is_which(shape):
    """Also where the loss given is one that could take them; one token more, and classes last are found."""
    outputs, loss = torch.zeros(4, *shape, 3), nn.CrossEntropyLoss()
    with pytest.raises(InputError, match=r"outputs that tell tokens from classes: two of their sizes are equal"):
        Rows.of(outputs, torch.zeros(4, *shape, dtype=torch.long), loss)
    longer = torch.zeros(4, *shape[1:], 4, 3)
    assert Rows.of(longer, torch.zeros(longer.shape[:-1], dtype=torch.long), loss).classes == longer.ndim - 1


class _Transposed(nn.Module):
    def forward(self, f):
        return f.movedim(-1, 1)


class _Pieces(nn.Module):
    """One layer after a linear one, of outputs (n, 4) or (n, 2, 2)."""

    def __init__(self, layer, shape=(4,)):
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.layer, self.shape = nn.Linear(3, 4), layer, shape

    def forward(self, x):
        return self.layer(self.linear(x).tanh().unflatten(1, self.shape)).flatten(1)


LAYERS = {
    "SiLU": nn.SiLU(), "Mish": nn.Mish(), "Softplus": nn.Softplus(), "Hardswish": nn.Hardswish(), "GLU": nn.GLU(),
    "Hardsigmoid": nn.Hardsigmoid(), "GELU": nn.GELU("tanh"), "LayerNorm": nn.LayerNorm(4), "RMSNorm": nn.RMSNorm(4),
    "weight norm": torch.nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)),
}  # fmt: skip
SHAPED = {"GroupNorm": nn.GroupNorm(2, 2), "InstanceNorm": nn.InstanceNorm1d(2, affine=True)}


@pytest.mark.parametrize("name", [*LAYERS, *SHAPED])
def test_common_layers_have_right_derivatives_up_to_the_third(name):
    """Against differences in double precision, which are right to 1e-6; a layer written out is the layer."""
    model = _Pieces(LAYERS[name]) if name in LAYERS else _Pieces(SHAPED[name], (2, 2))
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    assert derivative_gap(ModelFunction(model), x) < 1e-5
    z = OutputMap(model, half_square, x, torch.zeros_like(model(x)))
    assert torch.allclose(z.outputs(), model(x), rtol=1e-5, atol=1e-6)


class _WrongBoth(nn.Module):
    """A square whose forward and backward derivatives are wrong alike."""

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
            return 3 * ctx.saved_tensors[0] * g

        @staticmethod
        def jvp(ctx, t):
            return 3 * ctx.saved_tensors[0] * t

    def forward(self, x):
        return self.Square.apply(x)


def test_derivatives_that_are_wrong_alike_are_named():
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    assert derivative_gap(ModelFunction(_Pieces(_WrongBoth())), x) > 0.1


class _Cumprod(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.a, self.b = nn.Linear(4, 3).double(), nn.Linear(3, 1).double()

    def forward(self, x):
        return self.b((self.a(x) * torch.tensor([1.0, 0.0, 1.0]).double()).cumprod(-1))


@pytest.mark.parametrize("way", [torch.ones(19).double(), None])
def test_a_nan_is_named_and_nothing_is_predicted(way):
    """Second derivatives of cumprod at 0 are NaN in torch."""
    model, x = _Cumprod(), torch.randn(3, 4, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    found = sm.estimate_timescales(model, nn.MSELoss(), (x, model(x).detach()), lr=0.02, label_noise=0.1, displacement=way)
    assert "derivatives of a layer are not finite (NaN)" in found.failed[0]
    assert (found.momentum, found.rule) == (None, None)


class _Odd(nn.Module):
    """Buffers that change, a tensor and a random number kept from the last call, dropout that is no module."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.last, self.calls = nn.Linear(4, 1), None, 0
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        self.seen += 1
        self.last = self.inner(x)
        return nn.functional.dropout(self.last, 0.5, self.training)


def test_the_model_is_left_as_it_was_whatever_it_is_made_of():
    model, x = _Odd(), torch.randn(5, 4)
    model(x)
    last, generator = model.last, torch.get_rng_state()
    found = sm.estimate_timescales(model, nn.MSELoss(), (x, torch.zeros(5, 1)), lr=0.02, label_noise=0.1)
    assert (model.calls, float(model.seen)) == (1, 1.0)
    assert model.last is last
    assert model.training
    assert torch.equal(generator, torch.get_rng_state())
    assert "dropout in train mode" in found.doubts[0]


def test_dropout_inside_attention_and_recurrent_layers_is_named_and_off():
    torch.manual_seed(0)
    for inner in (nn.MultiheadAttention(4, 2, dropout=0.5, batch_first=True), nn.LSTM(4, 4, 2, dropout=0.5, batch_first=True)):
        model = _Attending(inner)
        x = torch.randn(5, 3, 4)
        found = sm.estimate_timescales(
            model,
            nn.MSELoss(),
            (x, model.eval()(x).detach()),
            lr=0.02,
            label_noise=0.1,
            settings=EstimatorSettings(n_draws=2, vary=False),
        )
        assert not any("dropout" in text for text in found.doubts)
        again = sm.estimate_timescales(
            model.train(), nn.MSELoss(), (x, model.eval()(x).detach()), lr=0.02, label_noise=0.1,
            settings=EstimatorSettings(n_draws=2, vary=False),
        )  # fmt: skip
        assert again.eigenvalues == found.eigenvalues


class _Attending(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner, self.last = inner, nn.Linear(4, 1)

    def forward(self, x):
        return self.last((self.inner(x, x, x) if isinstance(self.inner, nn.MultiheadAttention) else self.inner(x))[0][:, -1])


def test_the_range_holds_the_other_ways_to_measure():
    _, _, model, data = _sensing()
    found = estimate(model, data, n_draws=100, vary=True, n_probes=8)
    assert set(found.other_curvatures) == {"more directions soft", "a path of 3 steps down tr H"}
    for mu in found.other_curvatures.values():
        assert found.low <= sm.MomentumRule.from_geometry(found.noise, mu).one_minus_beta(0.05) <= found.high
    assert found.low <= found.one_minus_beta - 2 * found.one_minus_beta_se
    assert found.low == pytest.approx(
        found.one_minus_beta, rel=0.6
    )  # near the flattest point, where mu depends little on the way


def test_without_interpolation_there_is_no_answer():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)), torch.randn(40, 4)
    found = sm.estimate_timescales(model, nn.MSELoss(), (x, 3 * x[:, :1]), lr=0.02, label_noise=0.1, quick=True)
    assert "not interpolating" in "".join(found.failed)
    assert (found.momentum, found.rule, found.low) == (None, None, None)
    assert "find_momentum finds one by trials" in str(found)
    with pytest.raises(InputError, match="settings: given beside quick"):
        sm.estimate_timescales(
            model, nn.MSELoss(), (x, x[:, :1]), lr=0.1, label_noise=0.1, quick=True, settings=EstimatorSettings()
        )


def _failures(model, loss, data, n_probes=64, **options):
    settings = EstimatorSettings(n_draws=4, n_probes=n_probes, vary=False)
    found = sm.estimate_timescales(model, loss, data, lr=0.01, settings=settings, **options)
    return "\n".join([*found.failed, *found.doubts])


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
    found = sm.estimate_timescales(
        model, half_square, data, lr=1.0, label_noise=0.1, settings=EstimatorSettings(n_draws=4, vary=False)
    )
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
    settings = EstimatorSettings(n_probes=8, n_draws=4, vary=False)
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
    assert all(isinstance(value, float | int | str | list | dict | None) for value in plain.values())


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
        ({"data": "digits"}, "data: given str; allowed: .inputs, targets., inputs a tensor"),
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
