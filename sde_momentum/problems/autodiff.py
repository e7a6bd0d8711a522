"""Functions in PyTorch or JAX with derivatives by autodiff; a `torch.nn.Module` as a function of its parameters."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..core.errors import InputError
from .array_functions import Array, ArrayFunctions, Function, lanes_within


def call_torch(f: Function, w: Array, device: str | None = None) -> Any:
    """f at a tensor of the entries of w, on the device (None: the CPU)."""
    import torch

    with torch.no_grad():
        return f(torch.as_tensor(w, device=device))


def check_device(device: str) -> None:
    """InputError unless PyTorch computes on the device here."""
    import torch

    try:
        torch.zeros(1, dtype=torch.float64, device=device).cpu().numpy()
    except Exception as error:  # of a name that it does not know, a driver that is missing, a device without float64
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError("device", device, f"a device of PyTorch with float64 ({reason})") from error


def call_jax(f: Function, w: Array) -> Any:
    """f at a JAX array of the entries of w, in float64."""
    import jax

    with _double(jax)(True):
        return f(jax.numpy.asarray(w))


def _double(jax: Any) -> Any:
    """JAX's context for float64."""
    from jax import experimental

    return jax.enable_x64 if hasattr(jax, "enable_x64") else experimental.enable_x64  # its home before JAX 0.8


def torch_functions(
    f: Function, sizes: tuple[int, int], batched: bool, test_error: Function | None, device: str | None = None
) -> ArrayFunctions:
    """f in PyTorch, w (N,) -> (P,), or (n, N) -> (n, P) where `batched`, with its derivatives by `torch.func`.

    Each call runs in one thread of PyTorch: the calls are small, and blocks of runs are shared out among threads already.
    `sizes` is (N, P), `device` where f is computed (None: the CPU).
    """
    import torch
    from torch import func

    def tensors(*arrays: Array) -> list[Any]:
        return [torch.as_tensor(np.array(x, dtype=np.float64), device=device) for x in arrays]

    def on_arrays(function: Function) -> Function:
        def call(*arrays: Array) -> Array:
            with _one_thread(torch), torch.no_grad():
                return np.asarray(function(*tensors(*arrays)).cpu().numpy())

        return call

    outputs = _many(func, f, batched)

    def vjp(w: Array) -> tuple[Array, Callable[[Array], Array]]:
        """Reverse mode through the whole batch: its rows do not mix, so that the gradient of <r, f> is every row's own."""
        with _one_thread(torch), torch.enable_grad():
            point = tensors(w)[0].requires_grad_()
            values = outputs(point)

        def pullback(r: Array) -> Array:
            with _one_thread(torch):
                return np.asarray(torch.autograd.grad(values, point, tensors(r)[0], retain_graph=True)[0].cpu().numpy())

        return values.detach().cpu().numpy(), pullback

    return _by_autodiff(func, on_arrays, f, sizes, batched, test_error, vjp, "torch autodiff")


def jax_functions(f: Function, sizes: tuple[int, int], batched: bool, test_error: Function | None) -> ArrayFunctions:
    """The same in JAX, in float64, compiled at first use."""
    import jax

    double = _double(jax)

    def in_double(function: Function) -> Function:
        compiled = jax.jit(function)

        def call(*arguments: Any) -> Any:
            with double(True):
                return compiled(*arguments)

        return call

    def on_arrays(function: Function) -> Function:
        call = in_double(function)
        return lambda *arrays: np.array(call(*(np.asarray(x, dtype=np.float64) for x in arrays)))

    many = _many(jax, f, batched)
    forward = in_double(lambda w: jax.vjp(many, w))
    backward = in_double(lambda pull, r: pull(r)[0])

    def vjp(w: Array) -> tuple[Array, Callable[[Array], Array]]:
        values, pull = forward(np.asarray(w, dtype=np.float64))
        return np.array(values), lambda r: np.array(backward(pull, np.asarray(r, dtype=np.float64)))

    return _by_autodiff(jax, on_arrays, f, sizes, batched, test_error, vjp, "jax autodiff")


def _many(tool: Any, f: Function, batched: bool) -> Function:
    """f, (n, N) -> (n, P), with `vmap` from `tool`."""
    return (lambda w: f(w).reshape(len(w), -1)) if batched else tool.vmap(lambda w: f(w).reshape(-1))


def _by_autodiff(
    tool: Any, on_arrays: Callable[[Function], Function], f: Function, sizes: tuple[int, int], batched: bool,
    test_error: Function | None, vjp: Function, how: str,
) -> ArrayFunctions:  # fmt: skip
    """With vmap, jacrev and grad from `tool`, `torch.func` or `jax`; `on_arrays` makes its functions take arrays."""

    def one(w: Any) -> Any:
        return (f(w[None]) if batched else f(w)).reshape(-1)

    def contract(w: Any, c: Any) -> Any:
        return tool.grad(lambda x: (c * tool.jacrev(one)(x)).sum())(w)

    def many(function: Function) -> Function:
        return on_arrays(tool.vmap(function))

    return ArrayFunctions(
        on_arrays(_many(tool, f, batched)), many(tool.jacrev(one)), many(contract), how, lanes_within(max(sizes)), vjp,
        None if test_error is None else many(lambda w: test_error(w).reshape(())),
    )  # fmt: skip


@contextmanager
def _one_thread(torch: Any) -> Iterator[None]:
    """PyTorch's number of threads at 1, of the calling thread. Threads of a pool keep it, the main one gets its own back."""
    before = torch.get_num_threads()
    if before > 1:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if before > 1 and threading.current_thread() is threading.main_thread():
            torch.set_num_threads(before)


def module_function(module: Any, inputs: Any, device: str | None = None) -> tuple[Function, Array]:
    """A `torch.nn.Module` on its `inputs` as a function of its trained parameters, flattened, and their values, (N,).

    A copy in float64, on the device (None: the CPU). Parameters without `requires_grad` and buffers stay as they are.
    """
    import torch
    from torch import func

    if inputs is None:
        raise InputError("inputs", None, f"the inputs of the module {type(module).__name__}: a tensor, or a tuple of tensors")
    place = device or "cpu"
    data = [torch.as_tensor(x, device=place) for x in (inputs if isinstance(inputs, tuple) else (inputs,))]
    data = [x.detach().double() if x.is_floating_point() else x for x in data]
    own = copy.deepcopy(module).double().to(place)
    trained = {name: value.detach() for name, value in own.named_parameters() if value.requires_grad}
    if not trained:
        raise InputError("f", f"{type(module).__name__} without parameters that are trained", "a module with parameters")
    shapes, sizes = [value.shape for value in trained.values()], [value.numel() for value in trained.values()]

    def f(w: Any) -> Any:
        parts = (part.reshape(shape) for part, shape in zip(torch.split(w, sizes), shapes, strict=True))
        return func.functional_call(own, dict(zip(trained, parts, strict=True)), tuple(data))

    return f, np.concatenate([value.cpu().numpy().ravel() for value in trained.values()])
