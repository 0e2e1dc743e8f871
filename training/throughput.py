"""The arithmetic of devices, for the share of it that a training uses (MFU)."""

import torch

# Dense bf16 products, floating point operations a second, from the makers' data sheets.
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "RTX 4090": 165e12}


def device_peak(device: torch.device) -> float | None:
    """Gives the peak of a CUDA device in `PEAKS`, else None."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for known, peak in PEAKS.items() if known in name), None)
