"""The whitened outputs z(w) of a PyTorch model on its data, for which H = J^T J on Gamma [theory: Setting, eq. 1.3]."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, grad, jvp, vjp
from torch.overrides import TorchFunctionMode

from ..core.errors import InputError

Loss = Callable[[Tensor, Tensor], Tensor]
#: Largest number of outputs of a sample, unless the Hessian of the loss in them is a multiple of the identity.
MOST_OUTPUTS = 256


def _layer_norm(
    x: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    dims = tuple(range(-len(normalized_shape), 0))
    centred = x - x.mean(dims, keepdim=True)
    out = centred * (centred.square().mean(dims, keepdim=True) + eps).rsqrt()
    out = out if weight is None else out * weight
    return out if bias is None else out + bias


class _WrittenOut(TorchFunctionMode):
    """Layer norm from elementary operations: torch 2.13 differentiates its own forward derivative of it wrongly."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.nn.functional.layer_norm or func is torch.layer_norm:
            return _layer_norm(*args[:5], **{k: v for k, v in (kwargs or {}).items() if k != "cudnn_enable"})
        return func(*args, **(kwargs or {}))


class OutputMap:
    """The whitened outputs z_i(w) = R_i f(x_i; w) and products with their derivatives in the parameters w.

    R_i^T R_i is the Hessian of the loss in the outputs of sample i, over n. In whitened outputs every loss is like the square
    loss: H = J^T J with J = dz/dw. The R_i are constants on Gamma, where the outputs do not change. Vectors in parameter space
    have length N (parameters that require a gradient, in the model's order), vectors in output space length P (samples x
    outputs). Only products with J, J^T and the second and third derivatives of z are formed, a chunk of samples at a time; the
    model's parameters and their `.grad` are not changed.

    Args:
        model: an `nn.Module` whose forward takes one tensor of inputs; it stays in its mode, train or eval
        loss: mean over the samples of a loss of (outputs, targets)
        inputs, targets: n samples; targets without label noise
        chunk_size: number of samples evaluated together; memory grows with it

    Raises:
        InputError: for a loss that is not a mean over samples or has no curvature, or a model without forward-mode
            derivatives.
    """

    def __init__(self, model: torch.nn.Module, loss: Loss, inputs: Tensor, targets: Tensor, chunk_size: int = 128) -> None:
        self._model, self._loss = model, loss
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        if not named:
            raise InputError("model", "no parameter that requires a gradient", "a model that can be trained")
        self._names = [name for name, _ in named]
        self._shapes = [p.shape for _, p in named]
        self.parameters: tuple[Tensor, ...] = tuple(p.detach() for _, p in named)
        self.n_parameters = sum(p.numel() for p in self.parameters)
        first = self.parameters[0]
        self.dtype, self.device = first.dtype, first.device
        self.n_samples = len(inputs)
        self._chunks = list(zip(inputs.split(chunk_size), targets.split(chunk_size), strict=True))
        #: Number of passes over all samples so far, forward and backward.
        self.passes = 0
        with self._evaluation():
            _check_mean(loss, self._outputs(self.parameters, self._chunks[0][0]), self._chunks[0][1])
            self._roots = [self._root(x, y) for x, y in self._chunks]
            widths = [z.numel() for z in (self._whitened(i, self.parameters) for i in range(len(self._chunks)))]
        self._widths = widths
        self.n_outputs = sum(widths)

    # -- the five products -------------------------------------------------------------------------

    def push(self, v: Tensor) -> Tensor:
        """J v: (N,) -> (P,)."""
        tangent = self._views(v)
        with self._evaluation():
            parts = [_jvp(self._function(i), self.parameters, tangent).ravel() for i in range(len(self._chunks))]
        return torch.cat(parts)

    def pull(self, u: Tensor) -> Tensor:
        """J^T u: (P,) -> (N,)."""
        out = torch.zeros(self.n_parameters, dtype=self.dtype, device=self.device)
        with self._evaluation():
            for i, part in self._parts(u):
                z, back = _vjp(self._function(i), *self.parameters)
                self._add(out, back(part.view_as(z)))
        return out

    def contract_hessians(self, u: Tensor, v: Tensor) -> Tensor:
        """sum_i u_i (hess z_i) v: (P,), (N,) -> (N,)."""
        out = torch.zeros(self.n_parameters, dtype=self.dtype, device=self.device)
        tangent = self._views(v)
        with self._evaluation():
            for i, part in self._parts(u):
                f = self._function(i)

                def along(*w: Tensor, f: Any = f, part: Tensor = part) -> Tensor:
                    return part @ _jvp(f, w, tangent).ravel()

                self._add(out, grad(along, argnums=tuple(range(len(self.parameters))))(*self.parameters))
        return out

    def disagreement(self, v: Tensor, seed: int = 0) -> float:
        """Relative difference between forward- and reverse-mode derivatives along v (N,), for a random u (P,).

        Compares u . J v with v . J^T u, and u . D^2 z[v, v] by forward over forward with forward over reverse mode. More than
        rounding shows a layer whose derivatives are wrong.
        """
        u = torch.randn(self.n_outputs, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(v)
        tangent = self._views(v)
        mixed = 0.0
        with self._evaluation():
            for i, part in self._parts(u):
                f = self._function(i)

                def back(*w: Tensor, f: Any = f, part: Tensor = part) -> Any:
                    z, pulled = _vjp(f, *w)
                    return pulled(part.view_as(z))

                mixed += sum(float((a * b).sum()) for a, b in zip(_jvp(back, self.parameters, tangent), tangent, strict=True))
        gaps = []
        for direct, other in ((self.push(v), float(self.pull(u) @ v)), (self.second(v, v), mixed)):
            size = max(float(u.norm() * direct.norm()), abs(other))
            gaps.append(abs(float(u @ direct) - other) / size if size > 0 else 0.0)
        return max(gaps)

    def second(self, x: Tensor, s: Tensor) -> Tensor:
        """D^2 z [x, s]: (N,), (N,) -> (P,)."""
        return self._nested(x, s)

    def third(self, x: Tensor, y: Tensor, q: Tensor) -> Tensor:
        """D^3 z [x, y, q]: (N,), (N,), (N,) -> (P,)."""
        return self._nested(x, y, q)

    def _nested(self, *directions: Tensor) -> Tensor:
        tangents = [self._views(v) for v in directions]
        with self._evaluation():
            parts = []
            for i in range(len(self._chunks)):
                f = self._function(i)
                for tangent in tangents:
                    f = _derivative(f, tangent)
                parts.append(f(*self.parameters).ravel())
        return torch.cat(parts)

    # -- the loss ----------------------------------------------------------------------------------

    def residual(self) -> Tensor:
        """rho (P,) with J^T rho = gradient of the loss, 0 on Gamma; near it |rho|^2 / 2 is the loss above its least value."""
        parts = []
        with self._evaluation():
            for (x, y), root in zip(self._chunks, self._roots, strict=True):
                f = self._outputs(self.parameters, x).requires_grad_()
                with torch.enable_grad():
                    slope = torch.autograd.grad(self._loss(f, y), f)[0] * (len(x) / self.n_samples)
                parts.append(_solve_transposed(root, slope.reshape(len(x), -1)).ravel())
        return torch.cat(parts)

    def mean_loss(self) -> float:
        """The mean loss of all samples."""
        with self._evaluation(), torch.no_grad():
            values = [float(self._loss(self._outputs(self.parameters, x), y)) * len(x) for x, y in self._chunks]
        return sum(values) / self.n_samples

    def outputs(self) -> Tensor:
        """f(x_i; w), (n, ...)."""
        with self._evaluation(), torch.no_grad():
            return torch.cat([self._outputs(self.parameters, x) for x, _ in self._chunks])

    def whiten(self, f: Tensor) -> Tensor:
        """R_i f_i for every sample: (n, ...) -> (P,)."""
        parts = f.split([len(x) for x, _ in self._chunks])
        return torch.cat([_apply(root, part).ravel() for root, part in zip(self._roots, parts, strict=True)])

    def gradient(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Gradient of the loss on the given samples, (N,)."""
        out = torch.zeros(self.n_parameters, dtype=self.dtype, device=self.device)
        n = len(inputs)
        size = len(self._chunks[0][0])
        with self._evaluation():
            for x, y in zip(inputs.split(size), targets.split(size), strict=True):
                value, back = _vjp(lambda *w, x=x, y=y: self._loss(self._outputs(w, x), y) * (len(x) / n), *self.parameters)
                self._add(out, back(torch.ones_like(value)))
        return out

    def move(self, step: Tensor) -> None:
        """w <- w + step (N,), in this map alone, not in the model."""
        self.parameters = tuple(p + d for p, d in zip(self.parameters, self._views(step), strict=True))

    def point(self) -> Tensor:
        """w, (N,)."""
        return torch.cat([p.ravel() for p in self.parameters])

    # -- inside ------------------------------------------------------------------------------------

    def _outputs(self, parameters: Sequence[Tensor], x: Tensor) -> Tensor:
        return torch.as_tensor(functional_call(self._model, dict(zip(self._names, parameters, strict=True)), (x,)))

    def _whitened(self, i: int, parameters: Sequence[Tensor]) -> Tensor:
        return _apply(self._roots[i], self._outputs(parameters, self._chunks[i][0]))

    def _function(self, i: int) -> Callable[..., Tensor]:
        return lambda *w: self._whitened(i, w)

    def _views(self, v: Tensor) -> tuple[Tensor, ...]:
        cut = v.split([shape.numel() for shape in self._shapes])
        return tuple(part.view(shape) for part, shape in zip(cut, self._shapes, strict=True))

    def _add(self, out: Tensor, gradients: Sequence[Tensor]) -> None:
        for view, g in zip(self._views(out), gradients, strict=True):
            view += g.detach()

    def _parts(self, u: Tensor) -> Iterator[tuple[int, Tensor]]:
        return iter(enumerate(u.split(self._widths)))

    def _root(self, x: Tensor, y: Tensor) -> Tensor:
        """R_i of a chunk: a number if all are the same multiple of the identity, else (samples, D, D), D outputs a sample."""
        f = self._outputs(self.parameters, x).detach().requires_grad_()
        n, width = len(x), f[0].numel()
        with torch.enable_grad():
            slope = torch.autograd.grad(self._loss(f, y) * n, f, create_graph=True)[0]
            allowed = "a loss with a second derivative in the outputs, such as the square loss or cross-entropy"
            if not slope.requires_grad:
                raise InputError("loss", "no curvature in the outputs", allowed)
            generator = torch.Generator().manual_seed(0)
            probe = torch.randn(f.shape, generator=generator, dtype=torch.float64).to(f)
            image = torch.autograd.grad(slope, f, probe, retain_graph=True)[0]
            if not image.norm() > 0:
                raise InputError("loss", "no curvature in the outputs", allowed)
            scale = (image * probe).sum() / (probe * probe).sum()
            if (image - scale * probe).norm() <= 1e-6 * image.norm():
                return (scale / self.n_samples).sqrt()
            if width > MOST_OUTPUTS:
                raise InputError("model", f"{width} outputs a sample", f"at most {MOST_OUTPUTS}, or the square loss")
            rows = []
            for d in range(width):
                unit = torch.zeros_like(f).reshape(n, width)
                unit[:, d] = 1
                rows.append(torch.autograd.grad(slope, f, unit.view_as(f), retain_graph=True)[0].reshape(n, width))
        eigenvalues, basis = torch.linalg.eigh(torch.stack(rows, dim=1) / self.n_samples)
        return eigenvalues.clamp_min(0).sqrt()[:, :, None] * basis.mT

    @contextmanager
    def _evaluation(self) -> Iterator[None]:
        """Context that uses kernels with forward-mode derivatives; InputError for a layer that has none."""
        self.passes += 1
        with ExitStack() as stack:
            stack.enter_context(torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH))
            fast = torch.backends.mha.get_fastpath_enabled()
            stack.callback(torch.backends.mha.set_fastpath_enabled, fast)
            torch.backends.mha.set_fastpath_enabled(False)
            stack.enter_context(_WrittenOut())
            if any(isinstance(module, torch.nn.RNNBase) for module in self._model.modules()):  # fused kernels of RNNs have none
                stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
                stack.enter_context(torch.backends.cudnn.flags(enabled=False))
            try:
                yield
            except (NotImplementedError, RuntimeError) as error:
                reason = str(error).splitlines()[0]
                if not any(word in reason for word in ("forward AD", "jvp", "functorch")):
                    raise
                raise InputError("model", reason, "layers with forward-mode derivatives (torch.func.jvp)") from None


def _jvp(f: Callable[..., Any], w: tuple[Tensor, ...], tangent: tuple[Tensor, ...]) -> Any:
    return jvp(f, w, tangent)[1]


def _vjp(f: Callable[..., Tensor], *w: Tensor) -> tuple[Tensor, Callable[..., Any]]:
    value, back = vjp(f, *w)[:2]
    return value, back


def _derivative(f: Callable[..., Tensor], tangent: tuple[Tensor, ...]) -> Callable[..., Tensor]:
    return lambda *w: _jvp(f, w, tangent)


def _apply(root: Tensor, f: Tensor) -> Tensor:
    flat = f.reshape(len(f), -1)
    return flat * root if root.ndim == 0 else torch.einsum("nij,nj->ni", root, flat)


def _solve_transposed(root: Tensor, slope: Tensor) -> Tensor:
    """rho of least norm with R^T rho = slope, for every sample. R = diag(sqrt(a)) Q^T."""
    if root.ndim == 0:
        return slope / root
    sizes = root.norm(dim=2)  # sqrt(a)
    kept = sizes > 1e-4 * sizes.max()
    weights = torch.where(kept, 1 / sizes.clamp_min(torch.finfo(sizes.dtype).tiny) ** 2, 0)
    return weights * torch.einsum("nij,nj->ni", root, slope)


def _check_mean(loss: Loss, f: Tensor, y: Tensor) -> None:
    """Refuse a loss that is not the mean of the losses of its samples."""
    with torch.no_grad():
        value = loss(f, y)
        if value.ndim:
            raise InputError("loss", f"shape {tuple(value.shape)}", "one number: the mean over the samples")
        single = sum(float(loss(f[i : i + 1], y[i : i + 1])) for i in range(len(f))) / len(f)
    if not abs(float(value) - single) <= 1e-3 * abs(single) + 1e-12:
        given = f"{float(value):.6g} on a chunk, where the mean of its samples is {single:.6g}"
        raise InputError("loss", given, "the mean of a loss of each sample (reduction='mean')")
