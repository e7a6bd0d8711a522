"""One update of a stack as a CUDA graph, because kernels of small networks take longer to launch than to run."""

from __future__ import annotations

import gc
from collections.abc import Callable

import torch
from torch import Tensor

Update = Callable[[Tensor, Tensor], None]

#: Number of ordinary updates before the capture, in which libraries allocate memory and choose algorithms.
_WARM_UP = 2


class Captured:
    """A function `update(inputs, targets)` that changes tensors in place, as a CUDA graph after its first calls.

    Shapes must not change. The arithmetic is that of the plain call.
    """

    def __init__(self, update: Update) -> None:
        self._update, self._calls = update, 0
        self._stream = torch.cuda.Stream()
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs = self._targets = torch.empty(0)

    def __call__(self, inputs: Tensor, targets: Tensor) -> None:
        """One update."""
        if self._graph is None:
            self._calls += 1
            if self._calls <= _WARM_UP:
                self._stream.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(self._stream):
                    self._update(inputs, targets)
                torch.cuda.current_stream().wait_stream(self._stream)
                return
            self._inputs, self._targets = inputs.clone(), targets.clone()
            gc.collect()  # an old graph that is collected during a capture ends it
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph, stream=self._stream):
                self._update(self._inputs, self._targets)
        self._inputs.copy_(inputs)
        self._targets.copy_(targets)
        self._graph.replay()
