"""Memory that is used again, for what every step of a training computes anew."""

import torch
from torch import Tensor


class Memory:
    """Tensors by owner and shape, taken once and never moved: what one held is gone when it is asked for again.

    Fresh memory costs a page fault a page, which for small networks on a CPU is more than the products themselves;
    and a captured CUDA graph wants fixed addresses.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._held: dict[object, Tensor] = {}

    def __call__(self, owner: object, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """The tensor of that shape that belongs to `owner` (any hashable)."""
        key = (owner, shape)
        if key not in self._held:
            self._held[key] = torch.empty(shape, dtype=dtype, device=self.device)
        return self._held[key]
