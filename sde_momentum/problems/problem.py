"""The contract of a problem: outputs f(w), their Jacobian and second derivatives; the rest is derived [theory: Setting]."""

from __future__ import annotations

import hashlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.arguments import by_annotations
from ..core.errors import InputError, numbers
from ..core.fingerprint import fingerprint
from .array_functions import LEAST, Function, lanes_within
from .compiled import Kernels
from .interpolation import descend_to_manifold
from .measures import LOSS, TRACE
from .metrics import METRICS, Method, Metric
from .points import TAKE_POINTS, checked

Array = NDArray[np.float64]


@by_annotations
class Problem(ABC):
    """Outputs f: R^N -> R^P on the training set, targets y in R^P, loss |f(w) - y|^2 / (2P) [theory: Setting, eq. 1.1].

    A member sets `targets` and `n_parameters` and has `outputs`, `jacobian` and `contract_hessians`, for w of shape (..., N).
    The rest is derived. It may add `pullback` or `vjp`, compiled `kernels`, a `test_error`, metrics and starts of its own.
    Functions in NumPy, PyTorch or JAX, and modules of PyTorch, become a problem by `Problem.from_function`, formulas by
    `derivations.SymbolicModel`.

    Attributes:
        targets: y, (P,)
        n_parameters: N
        name: in results and messages
        kernels: compiled outputs, pullbacks and metrics, None for none; without them simulations step in NumPy
        own_metrics: metrics that add to those of every problem (METRICS), or replace those of their names

    >>> class Product(Problem):  # f(u, v) = u v
    ...     name, n_parameters, targets = "product", 2, np.ones(1)
    ...     def outputs(self, w):
    ...         return w[..., :1] * w[..., 1:]
    ...     def jacobian(self, w):
    ...         return w[..., None, ::-1]
    ...     def contract_hessians(self, w, c):
    ...         return c[..., 0, ::-1]
    >>> float(Product().loss(np.array([2.0, 1.0]))), float(Product().trace_hessian(np.array([2.0, 1.0])))
    (0.5, 5.0)
    >>> Product()
    Product('product', N = 2, P = 1)
    """

    targets: Array
    n_parameters: int
    name: str = "problem"
    own_metrics: Sequence[Metric] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in TAKE_POINTS:
            if inspect.isfunction(cls.__dict__.get(name)):  # not a method that is another object's
                setattr(cls, name, checked(cls.__dict__[name]))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, N = {self.n_parameters}, P = {self.n_outputs})"

    @property
    def n_outputs(self) -> int:
        """P = samples x output dimensions."""
        return len(self.targets)

    @abstractmethod
    def outputs(self, w: Array) -> Array:
        """f(w): (..., N) -> (..., P)."""

    @abstractmethod
    def jacobian(self, w: Array) -> Array:
        """J = df/dw: (..., N) -> (..., P, N)."""

    @abstractmethod
    def contract_hessians(self, w: Array, c: Array) -> Array:
        """sum_i hess f_i c_i, the gradient of <c, J(w)> at fixed c: w (..., N), c (..., P, N) -> (..., N)."""

    @staticmethod
    @by_annotations
    def from_function(
        f: Any,
        targets: ArrayLike | None = None,
        n_parameters: int | None = None,
        *,
        inputs: Any = None,
        start: ArrayLike | None = None,
        batched: bool | None = None,
        device: str | None = None,
        jacobian: Function | None = None,
        contract_hessians: Function | None = None,
        test_error: Function | None = None,
        name: str | None = None,
    ) -> Problem:
        """A problem from a function of w in NumPy, PyTorch or JAX, from a `torch.nn.Module`, or from a `SymbolicModel`.

        The framework is found by calling f. Derivatives are the framework's own (PyTorch, JAX: "torch autodiff", "jax autodiff"),
        in NumPy by complex step where f takes complex w and that agrees with differences, else by central differences;
        `problem.derivatives` says which. In PyTorch and JAX a gradient costs a few calls of f, in NumPy N (complex step) or 2 N,
        and the errors of central differences of f of order 1 are about 1e-9 (J) and 1e-6 (second derivatives).

        Args:
            f: w (N,) -> P values, or many points at once, (n, N) -> (n, P), in float64; or a module, copied and cast to float64,
                as a function of its parameters with `requires_grad`, flattened; or a SymbolicModel, without other arguments
            targets: y, P finite numbers, of any shape
            n_parameters: N; None: that of the start or the module
            inputs: of a module: a tensor, or a tuple of tensors for several arguments
            start: a point where f is finite, from which `interpolating_start` begins, (N,); None: the module's own parameters
            batched: whether f takes many points at once; None: tried
            device: in PyTorch, where f and its derivatives are computed, such as "cuda": its data must lie there; a module and
                its inputs are copied; None: on the CPU
            jacobian: in NumPy, J = df/dw, w -> (P, N), exact and faster; many points at once as f, or tried
            contract_hessians: in NumPy, sum_i hess f_i c_i, the gradient of <c, J(w)> at fixed c: (w, c (P, N)) -> (N,)
            test_error: w -> a number, in f's framework; in PyTorch and JAX of one point
            name: in results and messages; None: that of f

        Raises:
            InputError: for a function with errors, of another number of values, not finite, not deterministic, or not in float64.

        >>> import sde_momentum as sm
        >>> x = np.linspace(-1, 1, 5)
        >>> problem = sm.Problem.from_function(lambda w: w[1] * np.tanh(w[0] * x), np.tanh(x), 2)
        >>> w = problem.interpolating_start(seed=1)
        >>> bool(problem.loss(w) < 1e-20), sm.ManifoldPoint(problem, w).rank, problem.derivatives
        (True, 2, 'complex step, second derivatives by central differences')
        """
        from .function import problem_from_function  # a subclass of this class

        return problem_from_function(
            f, targets, n_parameters, inputs=inputs, start=start, batched=batched, device=device, jacobian=jacobian,
            contract_hessians=contract_hessians, test_error=test_error, name=name,
        )  # fmt: skip

    # -- optional ------------------------------------------------------------------------------------

    @property
    def kernels(self) -> Kernels | None:
        """Compiled outputs, pullback and metrics, None for none."""
        return None

    @property
    def derivative_kernels(self) -> Kernels | None:
        """The kernels, if a compiled Jacobian and second derivatives are among them, else None."""
        kernels = self.kernels
        return None if kernels is None or kernels.jacobian is None or kernels.contract_hessians is None else kernels

    @checked
    def pullback(self, w: Array, r: Array) -> Array:
        """J(w)^T r: w (..., N), r (..., P) -> (..., N)."""
        return np.asarray((np.swapaxes(self.jacobian(w), -1, -2) @ r[..., None])[..., 0])

    @checked
    def vjp(self, w: Array) -> tuple[Array, Callable[[Array], Array]]:
        """f(w), (..., P), and the pullback r -> J(w)^T r, (..., P) -> (..., N), which may share work: w (..., N).

        Simulations without kernels call it once a step. Without a way of its own it calls `outputs` and `pullback`.
        """
        return self.outputs(w), lambda r: self.pullback(w, r)

    @property
    def lanes(self) -> int:
        """Preferred number of runs simulated together, a multiple of 32: without kernels enough to outweigh a call's own cost."""
        return LEAST if self.kernels is not None else lanes_within(self.n_parameters * self.n_outputs)

    @checked
    def test_error(self, w: Array) -> Array:
        """Generalisation error, (..., N) -> (...); NaN where the problem has none."""
        return np.full(w.shape[:-1], np.nan)

    @by_annotations
    def random_start(self, scale: float = 1.0, seed: int = 0) -> Array:
        """A random parameter vector of standard deviation `scale`, (N,). InputError where the problem has none."""
        raise InputError("start", None, f"a start: {self.name} has none of its own")

    @by_annotations
    def interpolating_start(self, scale: float = 1.0, seed: int = 0) -> Array:
        """A point of Gamma, (N,): noise-free gradient descent from `random_start(scale, seed)`, ended by Gauss-Newton."""
        return descend_to_manifold(self, self.random_start(scale, seed))

    def settings(self) -> dict[str, Any]:
        """Numbers and strings that identify this problem; stored with results."""
        return {
            "problem": self.name,
            "n_parameters": self.n_parameters,
            "n_outputs": self.n_outputs,
            "fingerprint": self._fingerprint,
        }

    @cached_property
    def _fingerprint(self) -> str:
        """Hash of the targets, of the code of `outputs`, and of outputs and pullbacks at fixed points near and far."""
        points = self._points
        r = np.random.default_rng(1).standard_normal((len(points), self.n_outputs))
        values, pulled = _at_each(self.outputs, points), _at_each(self.pullback, points[:2], r[:2])
        code = fingerprint({"outputs": type(self).outputs}) or ""
        return _digest(code, _digits(self.targets, 12), *(_digits(row, 6) for row in values), *(_digits(g, 4) for g in pulled))

    @cached_property
    def _points(self) -> Array:
        """Where fingerprints are taken, (points, N)."""
        scales = np.array([0.5, 1.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0])
        return scales[:, None] * np.random.default_rng(0).standard_normal((len(scales), self.n_parameters))

    def metric_fingerprint(self, metric: str | Metric) -> str:
        """Hash of a metric's code, and of its values at fixed points; it tells metrics of one name apart."""
        found = self.find_metric(metric)
        values = _at_each(lambda w: found(self, w), self._points)
        return _digest(fingerprint({"value": found.value}, mutable=True) or "", *(_digits(x, 6) for x in values))

    # -- derived -------------------------------------------------------------------------------------

    @checked
    def residual(self, w: Array) -> Array:
        """f(w) - y: (..., P)."""
        return self.outputs(w) - self.targets

    @checked
    def loss(self, w: Array) -> Array:
        """|f(w) - y|^2 / (2P): (...)."""
        return np.square(self.residual(w)).mean(axis=-1) / 2

    @checked
    def trace_hessian(self, w: Array) -> Array:
        """tr H = |J|^2 / P: (...). It equals the trace of the loss's Hessian on Gamma [theory: Setting, eq. 1.3]."""
        return np.square(self.jacobian(w)).sum(axis=(-2, -1)) / self.n_outputs

    @checked
    def trace_hessian_gradient(self, w: Array) -> Array:
        """Ambient gradient of tr H, (2/P) sum_i hess f_i J_i: (..., N)."""
        return self.contract_hessians(w, self.jacobian(w)) * (2 / self.n_outputs)

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """The metrics of this problem, by name."""
        return METRICS | {metric.name: metric for metric in self.own_metrics}

    def find_metric(self, metric: str | Metric, argument: str = "metric") -> Metric:
        """The metric of that name, or the given one. InputError where the problem has none of that name."""
        if isinstance(metric, Metric):
            return metric
        if not isinstance(metric, str) or metric not in self.metrics:
            raise InputError(argument, metric, ", ".join(self.metrics))
        return self.metrics[metric]

    def compiled_metric(self, metric: Metric) -> Any | None:
        """The metric in machine code, as `measures.model` takes it; None: it is measured in NumPy.

        It is found by the metric's function, never by its name. The loss and |J|^2 / P follow from outputs and pullback.
        """
        kernels = self.kernels
        if kernels is None:
            return None
        function = metric.value.of(self) if isinstance(metric.value, Method) else metric.value
        derived: dict[Callable[..., Any], Any] = {Problem.loss: LOSS, Problem.trace_hessian: TRACE}
        return next((kernel for copied, kernel in (derived | dict(kernels.metrics)).items() if copied is function), None)

    def metric_name(self, metric: str | Metric, argument: str = "metric") -> str:
        """The metric's name in files; InputError unless it is among this problem's `metrics`."""
        found = self.find_metric(metric, argument)
        if self.metrics.get(found.name) is not found:
            raise InputError(argument, f"{found.name}, not the problem's own", ", ".join(self.metrics))
        return found.name

    @checked
    def metric(self, metric: str | Metric, w: Array) -> Array:
        """The values of a metric at w: (..., N) -> (...)."""
        return self.find_metric(metric)(self, w)

    @checked
    def hessians(self, w: Array) -> Array:
        """hess f_i for every output: (N,) -> (P, N, N)."""
        n, p = self.n_parameters, self.n_outputs
        out = np.empty((p, n, n))
        c = np.zeros((n, p, n))
        for i in range(p):
            c[:, i, :] = np.eye(n)
            out[i] = self.contract_hessians(np.broadcast_to(w, (n, n)), c)
            c[:, i, :] = 0
        return out

    @checked
    def distance(self, w: Array) -> Array:
        """First-order distance to Gamma, |J^+ (f - y)|: (...).

        1e-9 of its trace is added to J J^T: where J loses rank, the lost directions do not count.
        """
        j = self.jacobian(w)
        k = j @ np.swapaxes(j, -1, -2)
        p = self.n_outputs
        damping = 1e-9 * np.trace(k, axis1=-2, axis2=-1)[..., None, None] + np.finfo(float).tiny
        r = self.residual(w)[..., None]
        step = np.swapaxes(j, -1, -2) @ np.linalg.solve(k + damping * np.eye(p), r)
        return np.sqrt(np.square(step[..., 0]).sum(axis=-1))

    @checked
    def spectral_gradient(self, w: Array, derivative: Callable[[Array], Array]) -> Array:
        """Ambient gradient of sum_j h(lambda_j), lambda_j the eigenvalues of J J^T / P: (..., N) -> (..., N).

        `derivative` maps the eigenvalues (..., P), increasing, to h'(lambda_j). With h' = 1: grad tr H.
        """
        j = self.jacobian(w)
        eigenvalues, basis = np.linalg.eigh(j @ np.swapaxes(j, -1, -2) / self.n_outputs)
        weights = derivative(np.maximum(eigenvalues, 0))[..., None, :]
        weighted = (basis * weights) @ (np.swapaxes(basis, -1, -2) @ j)
        return self.contract_hessians(w, weighted * (2 / self.n_outputs))

    def check_point(self, w: object, argument: str = "start") -> Array:
        """A finite parameter vector of the right length, or an InputError."""
        point = numbers(argument, w, f"{self.n_parameters} finite numbers")
        if point.shape != (self.n_parameters,):
            raise InputError(argument, f"shape {point.shape}", f"shape ({self.n_parameters},)")
        if not np.all(np.isfinite(point)):
            raise InputError(argument, "NaN or infinite entries", "finite numbers")
        return point


def _at_each(function: Function, *rows: Array) -> list[Array]:
    """A function at each of the rows, NaN where it fails: a point may lie outside its domain."""
    values = []
    for row in zip(*rows, strict=True):
        try:
            with np.errstate(all="ignore"):
                values.append(np.asarray(function(*row)))
        except Exception:
            values.append(np.array(np.nan))
    return values


def _digits(values: Array, n: int) -> str:
    """The values to n digits of the largest, so that rounding errors of those that nearly vanish do not count."""
    numbers = np.atleast_1d(values)
    scale = 10.0 ** np.floor(np.log10(np.abs(numbers[np.isfinite(numbers)]).max(initial=0.0) or 1.0))
    return f"{scale:.0e} " + " ".join(f"{x:.{n - 1}f}" for x in np.round(numbers / scale, n - 1) + 0.0)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def as_problem(given: Any, argument: str = "problem") -> Problem:
    """The problem itself, or the one that `given.compile()` makes, as a SymbolicModel does. InputError for anything else.

    >>> from derivations.models import two_factor
    >>> as_problem(two_factor(4)).name
    'two-factor'
    """
    made = given.compile() if not isinstance(given, Problem) and hasattr(given, "compile") else given
    if not isinstance(made, Problem):
        raise InputError(
            argument, given, "a Problem, such as MatrixSensing, Valley or Problem.from_function(f, ...), or a SymbolicModel"
        )
    return made
