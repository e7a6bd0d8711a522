"""The stacked ResNet-18 against one written plainly with torch.nn, against differences, and run by run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import sde_momentum as sm
from sde_momentum.core.errors import InputError
from sde_momentum.training import EstimatorSettings
from sde_momentum.training.output_map import OutputMap
from validation.networks import resnet18
from validation.networks.augmentation import crop_and_flip
from validation.networks.resnet18 import ResNet18

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def assert_equal(found, expected):
    """To rounding: 1e-12 of the largest number."""
    size = max(1.0, float(expected.abs().max()))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12 * size)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def start(network, n_runs, seed=0, spread=0.3):
    """Runs from different seeds, moved off the special values (ones and zeros) of the initialisation."""
    runs = [network.initial(seed + r, torch.float64) for r in range(n_runs)]
    parameters = {name: torch.cat([run[name] for run in runs]) for name in runs[0]}
    return {name: value + spread * normal(*value.shape, seed=50 + i) for i, (name, value) in enumerate(parameters.items())}


def of_run(parameters, r):
    return {name: value[r : r + 1] for name, value in parameters.items()}


class PlainBlock(nn.Module):
    def __init__(self, n_in, n_out, stride, norm):
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=not norm)
        self.bn1 = nn.BatchNorm2d(n_out) if norm else nn.Identity()
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=not norm)
        self.bn2 = nn.BatchNorm2d(n_out) if norm else nn.Identity()
        self.down = nn.Sequential()
        if stride != 1 or n_in != n_out:
            down = nn.Conv2d(n_in, n_out, 1, stride, bias=not norm)
            self.down = nn.Sequential(down, nn.BatchNorm2d(n_out)) if norm else nn.Sequential(down)

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.down(x))


class Plain(nn.Module):
    """One ordinary ResNet-18, its parameters in the same order as the stacked network's."""

    def __init__(self, channels, classes, width, norm):
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 3, 1, 1, bias=not norm)
        self.bn = nn.BatchNorm2d(width) if norm else nn.Identity()
        blocks, n_in = [], width
        for n_out, stride in ((width, 1), (2 * width, 2), (4 * width, 2), (8 * width, 2)):
            blocks += [PlainBlock(n_in, n_out, stride, norm), PlainBlock(n_out, n_out, 1, norm)]
            n_in = n_out
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(n_in, classes)

    def forward(self, x):
        x = self.blocks(torch.relu(self.bn(self.conv(x))))
        return self.fc(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))


def plain(network, parameters, r):
    module = Plain(network.input_shape[0], network.n_outputs, network.width, network.batch_norm).double()
    with torch.no_grad():
        for mine, theirs in zip(module.parameters(), parameters.values(), strict=True):
            mine.copy_(theirs[r])
    return module


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 6)])
@pytest.mark.parametrize("own_batches", [False, True])
@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("one_by_one", [True, False])
def test_each_run_is_an_ordinary_resnet(one_by_one, batch_norm, own_batches, shape, monkeypatch):
    """Outputs and gradients in training mode, as groups or one after another, and the run alone in a stack of one."""
    monkeypatch.setattr(resnet18, "ALONE", 0 if one_by_one else 1 << 40)
    network = ResNet18(shape, n_classes=3, width=2, batch_norm=batch_norm)
    n_runs = 3
    parameters = start(network, n_runs)
    inputs = normal(n_runs, 6, *shape, seed=7) if own_batches else normal(6, *shape, seed=7)
    cotangent = normal(n_runs, 6, 3, seed=8)
    outputs, pull = network.pullback(parameters, inputs)
    gradients = pull(cotangent)
    assert outputs.shape == (n_runs, 6, 3)
    for r in range(n_runs):
        batch = inputs[r] if own_batches else inputs
        module = plain(network, parameters, r)
        expected = module(batch)
        expected.backward(cotangent[r])
        assert_equal(outputs[r], expected.detach())
        for name, p in zip(parameters, module.parameters(), strict=True):
            assert_equal(gradients[name][r], p.grad)

        alone, pull_alone = network.pullback(of_run(parameters, r), batch)
        assert_equal(alone[0], outputs[r])
        for name, gradient in pull_alone(cotangent[r : r + 1]).items():
            assert_equal(gradient[0], gradients[name][r])


@pytest.mark.parametrize("own_reference", [False, True])
def test_evaluation_is_eval_mode_with_the_statistics_of_the_reference(own_reference, monkeypatch):
    """One forward in training mode with momentum=None leaves them in the running averages, but with n - 1 in the variance."""
    network = ResNet18((2, 8, 8), n_classes=3, width=2)
    parameters = start(network, 3)
    reference = normal(3, 9, 2, 8, 8, seed=1) if own_reference else normal(9, 2, 8, 8, seed=1)
    unseen = normal(5, 2, 8, 8, seed=2)
    outputs = network.evaluate(parameters, unseen, reference)
    for r in range(3):
        module, sizes = plain(network, parameters, r), {}
        norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = 1.0
            norm.register_forward_hook(lambda m, args, _, sizes=sizes: sizes.update({m: args[0].numel() / args[0].shape[1]}))
        with torch.no_grad():
            module(reference[r] if own_reference else reference)
            for norm in norms:
                norm.running_var *= (sizes[norm] - 1) / sizes[norm]
            expected = module.eval()(unseen)
        assert_equal(outputs[r], expected)
    many = normal(25, 2, 8, 8)
    at_once = network.evaluate(parameters, many, reference)
    monkeypatch.setattr(resnet18, "MOST_NUMBERS", 2 * 9 * 2 * 8 * 8)  # two runs, nine samples at a time
    assert_equal(network.evaluate(parameters, many, reference), at_once)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_evaluation_on_the_reference_itself_is_the_training_forward(batch_norm):
    network = ResNet18((1, 8, 8), n_classes=3, width=3, batch_norm=batch_norm)
    parameters, inputs = start(network, 2), normal(7, 1, 8, 8)
    expected = network.forward(parameters, inputs)
    assert_equal(network.evaluate(parameters, inputs, inputs), expected)
    for module in (network.module(parameters, 1), network.module(parameters, 1, inputs)):
        assert_equal(module(inputs).detach(), expected[1])


def test_number_of_parameters_of_the_usual_network():
    """11,173,962 is the count of the CIFAR ResNet-18 with 10 classes; without batch norm one bias for a gamma and a beta."""
    assert ResNet18().n_parameters == 11_173_962
    n_channels = sum(shape[0] for name, shape in ResNet18().shapes.items() if name.endswith("_gamma"))
    assert n_channels == 4800
    assert ResNet18(batch_norm=False).n_parameters == 11_173_962 - n_channels


@pytest.mark.parametrize("batch_norm", [True, False])
def test_initialisation_has_the_variances_of_kaiming(batch_norm):
    """A mean square of n normal numbers has relative standard error sqrt(2 / n); 4.5 of them, 21 weights, false alarms 2e-4."""
    network = ResNet18((3, 16, 16), width=16, batch_norm=batch_norm)
    values = network.initial(3)
    checked = 0
    for name, value in values.items():
        assert value.shape == (1, *network.shapes[name])
        if name.endswith("second_weight") and not batch_norm:
            assert not value.any()
        elif name == "head_weight":
            bound = 128**-0.5
            assert 0.99 * bound < value.abs().max() <= bound
            # fourth moment of the uniform law: 9/5 of the square of the variance
            assert float(value.square().mean() * 3 / bound**2) == pytest.approx(1, abs=4.5 * (0.8 / value.numel()) ** 0.5)
        elif name.endswith("_weight"):
            variance = 2 / (value.shape[1] * value.shape[3] * value.shape[4])
            assert float(value.square().mean() / variance) == pytest.approx(1, abs=4.5 * (2 / value.numel()) ** 0.5)
            checked += 1
        elif name.endswith("_gamma"):
            assert (value == 1).all()
        elif name != "head_bias":
            assert not value.any()
    assert checked == (20 if batch_norm else 12)


def test_initialisation_depends_on_the_seed_alone():
    network = ResNet18((1, 8, 8), width=2)
    first, again, other = network.initial(1), network.initial(1, torch.float64), network.initial(2)
    for name, value in first.items():
        assert torch.equal(value, again[name].float())
        if name.endswith("_weight"):
            assert not torch.equal(value, other[name])


def test_blocks_start_as_the_identity_without_batch_norm():
    """Where the shape stays, so the network is the stem and three projections with a relu after each."""
    network = ResNet18((3, 8, 8), n_classes=4, width=3, batch_norm=False)
    p = {name: value[0] for name, value in network.initial(0, torch.float64).items()}
    inputs = normal(5, 3, 8, 8)
    x = torch.relu(nn.functional.conv2d(inputs, p["stem_weight"], padding=1))
    for stage in (2, 3, 4):
        x = torch.relu(nn.functional.conv2d(x, p[f"stage{stage}_block1_shortcut_weight"], stride=2))
    expected = x.mean((2, 3)) @ p["head_weight"].T + p["head_bias"]
    assert_equal(network.forward(network.initial(0, torch.float64), inputs)[0], expected)


@pytest.mark.parametrize("activation", sorted(resnet18.ACTIVATIONS))
@pytest.mark.parametrize("batch_norm", [True, False])
def test_gradient_matches_differences(batch_norm, activation):
    """Central differences along a random direction; their error is of order h^2."""
    network = ResNet18((1, 8, 8), n_classes=3, width=2, batch_norm=batch_norm, activation=activation)
    parameters, inputs, cotangent = start(network, 2), normal(6, 1, 8, 8), normal(2, 6, 3)
    direction = {name: normal(*value.shape, seed=i) for i, (name, value) in enumerate(parameters.items())}
    _, pull = network.pullback(parameters, inputs)
    gradients, h = pull(cotangent), 1e-6
    slopes = torch.stack([(gradients[name] * direction[name]).flatten(1).sum(1) for name in parameters]).sum(0)
    values = []
    for sign in (1, -1):
        moved = {name: value + sign * h * direction[name] for name, value in parameters.items()}
        values.append((network.forward(moved, inputs) * cotangent).sum((1, 2)))
    torch.testing.assert_close((values[0] - values[1]) / (2 * h), slopes, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("norm", ["batch", "reference", "none"])
def test_module_has_derivatives_of_every_order(norm):
    """Of the outputs, by forward mode: each against central differences of the next lower order."""
    network = ResNet18((1, 6, 6), n_classes=2, width=1, batch_norm=norm != "none", activation="softplus")
    parameters, inputs = start(network, 2, spread=0.2), normal(6, 1, 6, 6, seed=3)
    module = network.module(parameters, 1, normal(9, 1, 6, 6, seed=4) if norm == "reference" else None)
    z = OutputMap(module, nn.MSELoss(), inputs, torch.zeros(6, 2, dtype=torch.float64), chunk_size=6)
    v, x, s = (normal(z.n_parameters, seed=i) / z.n_parameters**0.5 for i in range(3))

    def slope(function, direction, h=1e-4):
        values = []
        for sign in (1, -1):
            z.move(sign * h * direction)
            values.append(function())
            z.move(-sign * h * direction)
        return (values[0] - values[1]) / (2 * h)

    def error(found, expected):
        return float((found - expected).norm() / expected.norm())

    assert error(z.push(v), slope(lambda: z.whiten(z.outputs()).ravel(), v)) < 1e-5
    assert error(z.second(v, x), slope(lambda: z.push(v), x)) < 1e-5
    assert error(z.third(v, x, s), slope(lambda: z.second(v, x), s)) < 1e-5


@pytest.mark.parametrize("norm", ["batch", "reference", "none"])
def test_timescales_of_a_run_can_be_estimated(norm):
    network = ResNet18((1, 4, 4), n_classes=1, width=1, batch_norm=norm != "none", activation="softplus")
    parameters, inputs = start(network, 1), normal(6, 1, 4, 4)
    module = network.module(parameters, reference=inputs if norm == "reference" else None)
    targets = module(inputs).detach()
    found = sm.estimate_timescales(
        module,
        nn.MSELoss(),
        (inputs, targets),
        lr=1e-3,
        label_noise=0.1,
        settings=EstimatorSettings(n_probes=6, n_draws=8, n_eigenvalues=2, n_lanczos=4, vary=False),
    )
    jacobian = torch.func.jacrev(lambda p: network.forward(p, inputs)[0, :, 0])(parameters)
    if norm == "reference":
        jacobian = torch.func.jacrev(lambda p: torch.func.functional_call(module, p, (inputs,))[:, 0])(
            dict(module.named_parameters())
        )
    trace = sum(float(j.detach().square().sum()) for j in jacobian.values()) * 2 / 6
    assert found.trace_hessian == pytest.approx(trace, rel=1e-8)
    assert np.isfinite(found.curvature)
    assert found.label_share == pytest.approx(1)
    assert not any("disagree" in text for text in found.failed)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_forward_in_lower_precision_keeps_the_outputs_type(batch_norm):
    network = ResNet18((3, 8, 8), width=4, batch_norm=batch_norm)
    parameters = {name: torch.cat([network.initial(s)[name] for s in (0, 1)]) for name in network.shapes}
    inputs = normal(32, 3, 8, 8).float()
    full, full_pull = network.pullback(parameters, inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low, pull = network.pullback(parameters, inputs)
        gradients = pull(torch.ones_like(low))
        seen = network.evaluate(parameters, inputs, inputs)
    assert low.dtype == seen.dtype == torch.float32
    for found in (low, seen):
        assert 0 < float((found - full).norm() / full.norm()) < 0.1  # 20 layers rounded to 3 digits
    expected = full_pull(torch.ones_like(low))["head_weight"]
    assert float((gradients["head_weight"] - expected).norm() / expected.norm()) < 0.1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("batch_norm", [True, False])
def test_cuda_gives_the_outputs_of_the_cpu(batch_norm):
    network = ResNet18((3, 8, 8), width=4, batch_norm=batch_norm)
    parameters, inputs, cotangent = start(network, 3), normal(3, 8, 3, 8, 8), normal(3, 8, 10)
    there = {name: value.cuda() for name, value in parameters.items()}
    outputs, pull = network.pullback(parameters, inputs)
    theirs, their_pull = network.pullback(there, inputs.cuda())
    torch.testing.assert_close(theirs.cpu(), outputs, rtol=1e-10, atol=1e-10)
    gradients, their_gradients = pull(cotangent), their_pull(cotangent.cuda())
    for name, gradient in gradients.items():
        torch.testing.assert_close(their_gradients[name].cpu(), gradient, rtol=1e-9, atol=1e-9)
    evaluated = network.evaluate(there, inputs[0].cuda(), inputs.cuda())
    torch.testing.assert_close(evaluated.cpu(), network.evaluate(parameters, inputs[0], inputs), rtol=1e-10, atol=1e-10)


def test_unusable_input_is_refused():
    for options, argument in (
        ({"width": 0}, "width"),
        ({"n_classes": 0}, "n_classes"),
        ({"image_shape": (3, 32)}, "image_shape"),
        ({"image_shape": (3, 32, 0)}, "image_shape"),
        ({"activation": "swish"}, "activation"),
    ):
        with pytest.raises(InputError, match=f"^{argument}: given"):
            ResNet18(**options)
    network = ResNet18((1, 8, 8), width=1)
    parameters = start(network, 2)
    for shape in ((4, 3, 8, 8), (3, 4, 1, 8, 8), (1, 8, 8)):
        with pytest.raises(InputError, match=r"^inputs: given shape .* allowed: \(B, 1, 8, 8\), or \(2, B, 1, 8, 8\) for 2 runs"):
            network.forward(parameters, normal(*shape))
    with pytest.raises(InputError, match="at least two samples, for batch norm's variance"):
        network.forward(parameters, normal(1, 1, 8, 8))


def plain_crop(image, down, right, mirrored, padding):
    """The window that starts at (down, right) of the padded image, pixel by pixel."""
    n_channels, height, width = image.shape
    out = np.zeros(image.shape)
    for c, i, j in np.ndindex(n_channels, height, width):
        y, x = i + down - padding, (width - 1 - j if mirrored else j) + right - padding
        if 0 <= y < height and 0 <= x < width:
            out[c, i, j] = image[c, y, x]
    return out


def test_every_augmented_image_is_one_of_the_crops():
    images = normal(2, 40, 2, 4, 3)
    found = crop_and_flip(images, [3, 4], step=5, padding=1).numpy()
    places = [(y, x, m) for y in range(3) for x in range(3) for m in (False, True)]
    seen = set()
    for r, b in np.ndindex(2, 40):
        hits = [place for place in places if np.array_equal(plain_crop(images[r, b].numpy(), *place, 1), found[r, b])]
        assert len(hits) == 1
        seen.update(hits)
    assert len(seen) > 12  # of 18, by 80 draws: 6 or more missing has probability below 1e-7


def test_augmentation_is_uniform():
    """18 equally likely outcomes, chi-squared with 17 degrees of freedom: below 50.4 but for 4e-5, above 3.2 but for 1.1e-4."""
    images = torch.arange(1.0, 10.0).reshape(1, 1, 1, 3, 3).expand(1, 9000, 1, 3, 3)
    found = crop_and_flip(images, [0], step=0, padding=1)[0].flatten(1)
    counts = found.unique(dim=0, return_counts=True)[1].double()
    assert len(counts) == 18
    assert 3.2 < float((counts - 500).square().sum() / 500) < 50.4


def test_augmentation_of_a_run_does_not_depend_on_its_neighbours():
    images = normal(3, 5, 1, 6, 6)
    together = crop_and_flip(images, [7, 8, 9], step=2)
    assert torch.equal(crop_and_flip(images[1:2], [8], step=2), together[1:2])
    assert torch.equal(crop_and_flip(images.float(), [7, 8, 9], step=2), together.float())
    assert not torch.equal(crop_and_flip(images, [7, 8, 9], step=3), together)
    assert torch.equal(crop_and_flip(images, [7, 8, 9], step=2, padding=0, flip=False), images)
    with pytest.raises(InputError, match=r"^seeds: given 2 seeds; allowed: one for each of the 3 runs"):
        crop_and_flip(images, [7, 8], step=2)
    with pytest.raises(InputError, match=r"^images: given shape"):
        crop_and_flip(images[0], [7], step=2)
