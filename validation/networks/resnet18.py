"""ResNet-18 for small images (He, Zhang, Ren, Sun 2016, with the 3x3 stem of CIFAR), many runs side by side."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from sde_momentum.core.errors import InputError, check_integer

from .base import Network, Parameters

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "softplus": functional.softplus,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "tanh": torch.tanh,
}

#: Channel statistics: layer -> (mean, variance), each (R C,).
Statistics = dict[str, tuple[Tensor, Tensor]]
#: Batch norm of a layer: (its name, images (B, R C, h, w), gamma (R C,), beta (R C,)) -> images.
Normalise = Callable[[str, Tensor, Tensor, Tensor], Tensor]

#: Added to the variance, as in torch.nn.BatchNorm2d.
EPS = 1e-5
#: Numbers in one image-sized tensor of an evaluation, 1 GiB in single precision; more runs or samples go in portions.
MOST_NUMBERS = 2**28
#: From so many numbers on, one run's convolutions fill a machine, and as groups of one convolution runs would be slower.
ALONE = 2**21


class _Convolution(NamedTuple):
    name: str
    n_in: int
    n_out: int
    kernel: int
    stride: int


class _Block(NamedTuple):
    first: _Convolution
    second: _Convolution
    shortcut: _Convolution | None


class ResNet18(Network):
    """Stem conv3x3(w), stages of w, 2w, 4w, 8w channels with two basic blocks each, mean over the image, linear head.

    A block is act(N(conv(act(N(conv(h))))) + s(h)), with s = 1, or N of a 1x1 convolution where the shape changes. N is batch
    norm, gamma (h - mean) / sqrt(variance + 1e-5) + beta with the mean and variance of each channel over the run's own batch
    and image, or just + bias. The runs are groups of channels in one grouped convolution, (B, R C, h, w).

    Convolutions start normal with variance 2 / (n_out kernel^2), gamma at 1, beta and biases at 0, the head uniform in
    +-1 / sqrt(8w), as in torchvision. Without batch norm the last convolution of each block starts at 0, as in Fixup.

    Args:
        image_shape: (C, h, w) of one image
        n_classes: K, outputs a sample
        width: w, channels of the first stage; 64 is the usual network
        batch_norm: with it, or with biases in its place
        activation: "relu", or one with curvature: "softplus", "gelu", "silu", "tanh"

    Raises:
        InputError: for numbers below 1 and unknown activations; `forward` for inputs of another shape.

    Source: He, Zhang, Ren, Sun (2016), arXiv 1512.03385; Ioffe, Szegedy (2015), arXiv 1502.03167; Zhang, Dauphin, Ma (2019),
    arXiv 1901.09321.

    >>> network = ResNet18(image_shape=(1, 8, 8), width=2)
    >>> network.forward(network.initial(seed=0), torch.ones(5, 1, 8, 8)).shape
    torch.Size([1, 5, 10])
    >>> ResNet18().n_parameters
    11173962
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int] = (3, 32, 32),
        n_classes: int = 10,
        width: int = 64,
        batch_norm: bool = True,
        activation: str = "relu",
    ) -> None:
        if len(image_shape) != 3:
            raise InputError("image_shape", image_shape, "channels, height and width")
        self.input_shape = tuple(check_integer(size, "image_shape", 1) for size in image_shape)
        self.n_outputs = check_integer(n_classes, "n_classes", 1)
        self.width = check_integer(width, "width", 1)
        if activation not in ACTIVATIONS:
            raise InputError("activation", activation, ", ".join(ACTIVATIONS))
        self.batch_norm, self.activation = bool(batch_norm), activation
        self._stem = _Convolution("stem", self.input_shape[0], self.width, 3, 1)
        self._blocks = _blocks(self.width)
        self._normalise: Normalise = _by_batch

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter of one run: of a layer `_weight`, then `_gamma`, `_beta` or `_bias`; the head's come last."""
        shapes: dict[str, tuple[int, ...]] = {}
        for layer in self._convolutions():
            shapes[f"{layer.name}_weight"] = (layer.n_out, layer.n_in, layer.kernel, layer.kernel)
            for kind in ("gamma", "beta") if self.batch_norm else ("bias",):
                shapes[f"{layer.name}_{kind}"] = (layer.n_out,)
        return {**shapes, "head_weight": (self.n_outputs, 8 * self.width), "head_bias": (self.n_outputs,)}

    def initial(self, seed: int, dtype: torch.dtype = torch.float32) -> Parameters:
        """Random initialisation of one run, on the CPU: name -> (1, ...). The same numbers, rounded, in every `dtype`."""
        generator = torch.Generator().manual_seed(check_integer(seed, "seed", 0))
        values: Parameters = {}
        zeros = set() if self.batch_norm else {f"{block.second.name}_weight" for block in self._blocks}
        for name, shape in self.shapes.items():
            if name.startswith("head"):
                uniform = torch.rand(shape, generator=generator, dtype=torch.float64)
                value = (2 * uniform - 1) * (8 * self.width) ** -0.5
            elif name.endswith("_weight") and name not in zeros:
                n_out, _, height, width = shape
                value = torch.randn(shape, generator=generator, dtype=torch.float64) * (2 / (n_out * height * width)) ** 0.5
            else:
                value = torch.full(shape, float(name.endswith("_gamma")))
            values[name] = value[None].to(dtype)
        return values

    def forward(self, parameters: Parameters, inputs: Tensor) -> Tensor:
        """Outputs (R, B, K) on inputs (B, C, h, w), the same for all runs, or (R, B, C, h, w), a batch for each.

        With batch norm an output depends on the run's whole batch. Under `torch.autocast` the convolutions are in the lower
        precision; the head, and so the outputs, stay in that of the parameters.
        """
        n_runs = self._check(parameters, inputs)
        activation = ACTIVATIONS[self.activation]
        if inputs.ndim == 5:
            x = self._layer(parameters, self._stem, inputs.transpose(0, 1).flatten(1, 2), n_runs)
        else:  # every run's filters on the same image: an ordinary convolution
            x = self._layer(parameters, self._stem, inputs, 1)
        x = activation(x)
        for block in self._blocks:
            y = activation(self._layer(parameters, block.first, x, n_runs))
            y = self._layer(parameters, block.second, y, n_runs)
            x = activation(y + (x if block.shortcut is None else self._layer(parameters, block.shortcut, x, n_runs)))
        weight, bias = parameters["head_weight"], parameters["head_bias"]
        with torch.autocast(x.device.type, enabled=False):  # targets are met to more than the 3 digits of bfloat16
            features = x.to(weight.dtype).mean((2, 3)).unflatten(1, (n_runs, -1)).transpose(0, 1)
            return torch.baddbmm(bias[:, None], features, weight.mT)

    def pullback(self, parameters: Parameters, inputs: Tensor) -> tuple[Tensor, Callable[[Tensor], Parameters]]:
        """As of any network; runs that fill the machine alone go one after another."""
        n_runs = self._check(parameters, inputs)
        if n_runs == 1 or inputs.shape[-4] * self._numbers < ALONE:
            return super().pullback(parameters, inputs)
        each = [
            super(ResNet18, self).pullback(
                {name: value[run, None] for name, value in parameters.items()}, inputs if inputs.ndim == 4 else inputs[run, None]
            )
            for run in range(n_runs)
        ]

        def pull(cotangent: Tensor) -> Parameters:
            pulled = [one(cotangent[run, None]) for run, (_, one) in enumerate(each)]
            return {name: torch.cat([gradient[name] for gradient in pulled]) for name in parameters}

        return torch.cat([outputs for outputs, _ in each]), pull

    def n_together(self, n_samples: int) -> int:
        """Runs whose image-sized tensors on so many samples have MOST_NUMBERS together."""
        return max(1, MOST_NUMBERS // (n_samples * self._numbers))

    @torch.no_grad()
    def evaluate(self, parameters: Parameters, inputs: Tensor, reference: Tensor) -> Tensor:
        """Outputs (R, B, K) on unseen inputs, without gradient; batch norm takes the statistics of `reference`.

        They are those of one training forward over all of `reference`, layer by layer: what running averages converge to, but
        with the variance that divides by n, as in training.
        """
        n_runs = self._check(parameters, inputs)
        n_together = min(n_runs, self.n_together(reference.shape[-4] if self.batch_norm else 1))
        outputs = []
        for start in range(0, n_runs, n_together):
            runs = slice(start, start + n_together)
            some = {name: value[runs] for name, value in parameters.items()}
            own = [data if data.ndim == 4 else data[runs] for data in (inputs, reference)]
            network = self._at_reference(some, own[1]) if self.batch_norm else self
            portions = own[0].split(max(1, MOST_NUMBERS // (n_together * self._numbers)), dim=-4)
            outputs.append(torch.cat([network.forward(some, portion) for portion in portions], dim=1))
        return torch.cat(outputs)

    def module(self, parameters: Parameters, run: int = 0, reference: Tensor | None = None) -> torch.nn.Module:
        """One run as an ordinary `nn.Module` of inputs (B, C, h, w) -> (B, K), with derivatives of every order.

        With batch norm: the statistics of `reference` (n, C, h, w), as constants, so that a sample's output is its own; or,
        without one, those of the inputs it is given, to be taken all together (`estimate_timescales(chunk_size=n)`).
        """
        network = copy.copy(self)
        if reference is None:
            network._normalise = _written_out
        elif self.batch_norm:
            with torch.no_grad():
                network = self._at_reference({name: value[run, None] for name, value in parameters.items()}, reference)
        return super(ResNet18, network).module(parameters, run)

    @property
    def _numbers(self) -> int:
        """In one image-sized tensor of one run and sample."""
        return self.width * self.input_shape[1] * self.input_shape[2]

    def _convolutions(self) -> list[_Convolution]:
        return [self._stem, *(layer for block in self._blocks for layer in block if layer is not None)]

    def _layer(self, parameters: Parameters, layer: _Convolution, x: Tensor, groups: int) -> Tensor:
        """Convolution and N on (B, R C, h, w)."""
        weight = parameters[f"{layer.name}_weight"].flatten(0, 1)
        bias = None if self.batch_norm else parameters[f"{layer.name}_bias"].flatten()
        stride = layer.stride
        if layer.kernel == 1:  # the same, and torch 2.13's own strides write beyond their memory on CPUs without AVX-512
            x, stride = x[..., ::stride, ::stride], 1
        if x.device.type == "cpu" or groups == 1:  # a grouped convolution on CUDA wants each channel in one piece
            x = x.contiguous(memory_format=torch.channels_last)
        x = functional.conv2d(x, weight, bias, stride, padding=layer.kernel // 2, groups=groups)
        if bias is not None:
            return x
        gamma, beta = (parameters[f"{layer.name}_{kind}"].flatten() for kind in ("gamma", "beta"))
        return self._normalise(layer.name, x, gamma, beta)

    def _at_reference(self, parameters: Parameters, reference: Tensor) -> ResNet18:
        """This network with the statistics that these runs have on `reference`, as constants."""
        statistics: Statistics = {}
        network = copy.copy(self)
        network._normalise = _recorded(statistics)
        network.forward(parameters, reference)
        network._normalise = _by_constants(statistics)
        return network

    def _check(self, parameters: Parameters, inputs: Tensor) -> int:
        """R."""
        n_runs = len(parameters["head_bias"])
        batches = inputs.shape[:-3]
        if (
            tuple(inputs.shape[-3:]) != self.input_shape
            or len(batches) not in (1, 2)
            or (len(batches) == 2 and batches[0] != n_runs)
        ):
            shape = ", ".join(map(str, self.input_shape))
            raise InputError(
                "inputs", f"shape {tuple(inputs.shape)}", f"(B, {shape}), or ({n_runs}, B, {shape}) for {n_runs} runs"
            )
        return n_runs


def _blocks(width: int) -> list[_Block]:
    blocks, n_in = [], width
    for stage in range(1, 5):
        n_out = width * 2 ** (stage - 1)
        for number in (1, 2):
            name, stride = f"stage{stage}_block{number}", 2 if stage > 1 and number == 1 else 1
            blocks.append(
                _Block(
                    _Convolution(f"{name}_first", n_in, n_out, 3, stride),
                    _Convolution(f"{name}_second", n_out, n_out, 3, 1),
                    None if n_in == n_out else _Convolution(f"{name}_shortcut", n_in, n_out, 1, stride),
                )
            )
            n_in = n_out
    return blocks


def _by_batch(name: str, x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    if x.shape[0] * x.shape[2] * x.shape[3] == 1:
        raise InputError(
            "inputs", "one sample, whose last images are one pixel", "at least two samples, for batch norm's variance"
        )
    return functional.batch_norm(x, None, None, gamma, beta, training=True, eps=EPS)


def _written_out(name: str, x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    """From elementary operations: slower, but torch's own forward derivative is wrong at second order (2.13, #196699)."""
    return _recorded({})(name, x, gamma, beta)


def _recorded(statistics: Statistics) -> Normalise:
    """As in training, keeping the statistics."""

    def normalise(name: str, x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x.to(gamma.dtype), (0, 2, 3), correction=0)
        statistics[name] = mean, variance
        return _affine(x, mean, variance, gamma, beta)

    return normalise


def _by_constants(statistics: Statistics) -> Normalise:
    def normalise(name: str, x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        return _affine(x, *statistics[name], gamma, beta)

    return normalise


def _affine(x: Tensor, mean: Tensor, variance: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    scale = gamma * (variance + EPS).rsqrt()
    return (x.to(gamma.dtype) - mean[:, None, None]) * scale[:, None, None] + beta[:, None, None]
