"""The whitened outputs z(w) of a PyTorch model on its data, for which H = J^T J on Gamma [theory: Setting, eq. 1.3]."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import grad, jvp, vjp

from ..core.errors import InputError
from .kernels import differentiable
from .model_function import ModelFunction
from .rows import Loss, Rows, mean_of
from .samples import Inputs, n_of, take
from .whitening import Root, root_of

_CHECKED = 8
"""Rows on which the loss is checked to be a mean."""


@dataclass(frozen=True)
class _Chunk:
    """Samples evaluated together: inputs and targets, and which targets count (None: all, by one row a sample)."""

    inputs: Inputs
    targets: Tensor
    counted: Tensor | None

    @property
    def n_rows(self) -> int:
        return len(self.targets) if self.counted is None else int(self.counted.sum())


class OutputMap:
    """The whitened outputs z_i(w) = R_i f_i(w) of every row and products with their derivatives in the parameters w.

    A row is a sample, or a token or pixel with a target of its own. R_i^T R_i is the Hessian of the loss in the outputs of row i,
    over the number of rows. In whitened outputs every loss is like the square loss: H = J^T J with J = dz/dw. The R_i are
    constants on Gamma, where the outputs do not change. Vectors in parameter space have length N (parameters that require a
    gradient, in the model's order), vectors in output space length P (rows x outputs of a row). Only products with J, J^T and the
    second and third derivatives of z are formed, a chunk of samples at a time; the model is not changed.

    Args:
        model: an `nn.Module`, or its `ModelFunction`; it is used in eval mode
        loss: mean over the rows of a loss of (outputs, targets)
        inputs, targets: n samples; targets without label noise
        chunk_size: number of samples evaluated together; memory grows with it
        counted: which targets to use (of their shape); None: all but ignored classes
        on_pass: called with the cost of each product, in forward passes over all samples

    Raises:
        InputError: for a loss that is not a mean over rows or has no curvature, outputs that are not finite, or a model without
            forward-mode derivatives.
    """

    def __init__(
        self,
        model: nn.Module | ModelFunction,
        loss: Loss,
        inputs: Inputs,
        targets: Tensor,
        chunk_size: int = 128,
        counted: Tensor | None = None,
        on_pass: Callable[[float], object] = lambda cost: None,
    ) -> None:
        self._f = model if isinstance(model, ModelFunction) else ModelFunction(model)
        self._loss, self._on_pass = loss, on_pass
        self.parameters = self._f.parameters
        self._shapes = [p.shape for p in self.parameters]
        self.n_parameters = sum(p.numel() for p in self.parameters)
        self.dtype, self.device = self.parameters[0].dtype, self.parameters[0].device
        self._size = chunk_size
        #: Cost so far, in forward passes over all samples.
        self.passes = 0.0
        with self._evaluation(1):
            self.rows = Rows.of(self._f(self.parameters, take(inputs, slice(0, chunk_size))), targets[:chunk_size], loss)
            self._chunks = [c for c in self._cut(inputs, targets, counted) if c.n_rows]
            if not self._chunks:
                raise InputError("data", "no target that counts", "at least one class that is not ignored")
            self.n_rows = sum(c.n_rows for c in self._chunks)
            self._roots = self._first_pass()
        self._widths = [c.n_rows * self._width for c in self._chunks]
        self.n_outputs = sum(self._widths)

    # -- the five products -------------------------------------------------------------------------

    def push(self, v: Tensor) -> Tensor:
        """J v: (N,) -> (P,)."""
        return self._nested(v)

    def pull(self, u: Tensor) -> Tensor:
        """J^T u: (P,) -> (N,)."""
        out = self._zeros()
        with self._evaluation(3):
            for i, part in self._parts(u):
                z, back = _vjp(self._function(i), *self.parameters)
                self._add(out, back(part.view_as(z)))
        return out

    def contract_hessians(self, u: Tensor, v: Tensor) -> Tensor:
        """sum_i u_i (hess z_i) v: (P,), (N,) -> (N,)."""
        out = self._zeros()
        tangent = self._views(v)
        with self._evaluation(6):
            for i, part in self._parts(u):
                f = self._function(i)

                def along(*w: Tensor, f: Any = f, part: Tensor = part) -> Tensor:
                    return part @ jvp(f, w, tangent)[1].ravel()

                self._add(out, grad(along, argnums=tuple(range(len(self.parameters))))(*self.parameters))
        return out

    def second(self, x: Tensor, s: Tensor) -> Tensor:
        """D^2 z [x, s]: (N,), (N,) -> (P,)."""
        return self._nested(x, s)

    def third(self, x: Tensor, y: Tensor, q: Tensor) -> Tensor:
        """D^3 z [x, y, q]: (N,), (N,), (N,) -> (P,)."""
        return self._nested(x, y, q)

    def _nested(self, *directions: Tensor) -> Tensor:
        tangents = [self._views(v) for v in directions]
        with self._evaluation(2 ** len(tangents)):
            parts = []
            for i in range(len(self._chunks)):
                f: Callable[..., Tensor] = self._function(i)
                for tangent in tangents:
                    f = _derivative(f, tangent)
                parts.append(f(*self.parameters).ravel())
        return torch.cat(parts)

    # -- the loss ----------------------------------------------------------------------------------

    def residual(self) -> Tensor:
        """rho (P,) with J^T rho = gradient of the loss, 0 on Gamma; near it |rho|^2 / 2 is the loss above its least value."""
        parts = []
        with self._evaluation(1):
            for chunk, root in zip(self._chunks, self._roots, strict=True):
                f, y = self._picked(self.parameters, chunk)
                f = f.detach().requires_grad_()
                with torch.enable_grad():
                    slope = torch.autograd.grad(self._loss(f, y), f)[0] * (len(f) / self.n_rows)
                parts.append(root.solve_transposed(slope.reshape(len(f), -1)).ravel())
        return torch.cat(parts)

    def mean_loss(self) -> float:
        """The mean loss of all rows."""
        with self._evaluation(1), torch.no_grad():
            picked = (self._picked(self.parameters, chunk) for chunk in self._chunks)
            values = [float(self._loss(f, y)) * len(f) for f, y in picked]
        return sum(values) / self.n_rows

    def outputs(self) -> Tensor:
        """f_i(w), (rows, ...)."""
        with self._evaluation(1), torch.no_grad():
            return torch.cat([self._picked(self.parameters, chunk)[0] for chunk in self._chunks])

    def whiten(self, f: Tensor) -> Tensor:
        """R_i f_i for every row: (rows, ...) -> (P,)."""
        parts = f.reshape(len(f), -1).split([c.n_rows for c in self._chunks])
        return torch.cat([root.apply(part).ravel() for root, part in zip(self._roots, parts, strict=True)])

    def gradient(self, inputs: Inputs, targets: Tensor, loss: Loss | None = None) -> Tensor:
        """Gradient of the loss (None: that of the map) on all rows of the given samples, (N,)."""
        out, value_of = self._zeros(), self._loss if loss is None else loss
        chunks = [c for c in self._cut(inputs, targets, None) if c.n_rows]
        n = sum(c.n_rows for c in chunks)
        with self._evaluation(3 * n_of(inputs) / sum(n_of(c.inputs) for c in self._chunks)):
            for chunk in chunks:

                def share(*w: Tensor, chunk: _Chunk = chunk) -> Tensor:
                    return value_of(*self._picked(w, chunk)) * (chunk.n_rows / n)

                value, back = _vjp(share, *self.parameters)
                self._add(out, back(torch.ones_like(value)))
        return out

    def move(self, step: Tensor) -> None:
        """w <- w + step (N,), in this map alone, not in the model."""
        self.parameters = tuple(p + d for p, d in zip(self.parameters, self._views(step), strict=True))

    def point(self) -> Tensor:
        """w, (N,)."""
        return torch.cat([p.ravel() for p in self.parameters])

    # -- inside ------------------------------------------------------------------------------------

    def _cut(self, inputs: Inputs, targets: Tensor, counted: Tensor | None) -> Iterator[_Chunk]:
        counted = self.rows.counted(targets) if counted is None else counted
        for first in range(0, len(targets), self._size):
            some = slice(first, first + self._size)
            yield _Chunk(take(inputs, some), targets[some], None if counted is None else counted[some])

    def _first_pass(self) -> list[Root]:
        """The roots of all chunks, after checks of outputs and loss."""
        picked = []
        for chunk in self._chunks:
            f, y = self._picked(self.parameters, chunk)
            if not bool(torch.isfinite(f).all()):
                raise InputError(
                    "model", "outputs that are not finite (NaN or infinite)", "a model and inputs with finite outputs"
                )
            picked.append((f, y))
        spread = torch.linspace(0, self.n_rows - 1, min(_CHECKED, self.n_rows)).long()  # data may be sorted by class
        f, y = (torch.cat([pair[k] for pair in picked])[spread.to(self.device)] for k in range(2))
        _check_mean(self._loss, f, y)
        self._width = f[0].numel()
        return [root_of(self._loss, f, y, self.n_rows) for f, y in picked]

    def _picked(self, parameters: Sequence[Tensor], chunk: _Chunk) -> tuple[Tensor, Tensor]:
        return self.rows.pick(self._f(parameters, chunk.inputs), chunk.targets, chunk.counted)

    def _function(self, i: int) -> Callable[..., Tensor]:
        """w -> whitened outputs of chunk i, (rows, outputs)."""
        chunk, root = self._chunks[i], self._roots[i]

        def whitened(*w: Tensor) -> Tensor:
            f = self._picked(w, chunk)[0]
            return root.apply(f.reshape(len(f), -1))

        return whitened

    def _zeros(self) -> Tensor:
        return torch.zeros(self.n_parameters, dtype=self.dtype, device=self.device)

    def _views(self, v: Tensor) -> tuple[Tensor, ...]:
        cut = v.split([shape.numel() for shape in self._shapes])
        return tuple(part.view(shape) for part, shape in zip(cut, self._shapes, strict=True))

    def _add(self, out: Tensor, gradients: Sequence[Tensor]) -> None:
        for view, g in zip(self._views(out), gradients, strict=True):
            view += g.detach()

    def _parts(self, u: Tensor) -> Iterator[tuple[int, Tensor]]:
        return iter(enumerate(u.split(self._widths)))

    @contextmanager
    def _evaluation(self, cost: float) -> Iterator[None]:
        self.passes += cost
        with differentiable(self._f.module):
            yield
        self._on_pass(cost)


def _vjp(f: Callable[..., Tensor], *w: Tensor) -> tuple[Tensor, Callable[..., Any]]:
    value, back = vjp(f, *w)[:2]
    return value, back


def _derivative(f: Callable[..., Tensor], tangent: tuple[Tensor, ...]) -> Callable[..., Tensor]:
    return lambda *w: jvp(f, w, tangent)[1]


def _check_mean(loss: Loss, f: Tensor, y: Tensor) -> None:
    """Refuse a loss that is not the mean of the losses of its rows."""
    with torch.no_grad():
        try:
            value = mean_of(loss, f, y)
            single = sum(float(loss(f[i : i + 1], y[i : i + 1])) for i in range(len(f))) / len(f)
            twice = float(loss(torch.cat([f, f]), torch.cat([y, y])))  # a sum over one row would pass for its mean
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            if isinstance(error, InputError):
                raise
            given = f"an error for outputs {tuple(f.shape)} and targets {tuple(y.shape)}: {str(error).splitlines()[0]}"
            raise InputError("loss", given, "a function of outputs and targets of these shapes: the mean over the rows") from None
    for other in (single, twice):
        if not abs(float(value) - other) <= 1e-3 * abs(other) + 1e-12:
            given = f"{float(value):.6g} on some samples, where the mean of their losses is {single:.6g}"
            raise InputError("loss", given, "the mean of a loss of each sample (reduction='mean')")
