"""torch's attention over packed sequences of different lengths, and where it has a kernel."""

import torch

try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:
    varlen_attn = None

_AMPERE = (8, 0)  # the compute capability from which on FlashAttention has kernels


def has_kernel(query: torch.Tensor) -> bool:
    """Tells whether `varlen_attn` takes such queries. Exported programs do without: no format has its operation."""
    if varlen_attn is None or not query.is_cuda or query.dtype not in (torch.bfloat16, torch.float16):
        return False
    return not torch.compiler.is_exporting() and _is_recent(query.device)


@torch.compiler.assume_constant_result
def _is_recent(device: torch.device) -> bool:
    return torch.version.hip is not None or torch.cuda.get_device_capability(device) >= _AMPERE
