"""Device and precision of a task's tensors."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor


def placed(array: NDArray[Any], precision: str, device: str) -> Tensor:
    """The array as a tensor on `device`, double for "float64", else single; "tf32" and "bf16" allow TF32 products on CUDA.

    CUDA's algorithms are the deterministic ones.
    """
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision in ("tf32", "bf16")
    torch.backends.cudnn.deterministic = True
    return torch.tensor(array, dtype=torch.float64 if precision == "float64" else torch.float32, device=device)
