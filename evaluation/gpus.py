"""GPUs of several processes."""

import torch


def use_gpu(rank: int) -> None:
    """Makes "cuda" mean this process's GPU, of which there may be fewer than processes; nothing without one."""
    if torch.cuda.is_available():
        torch.cuda.set_device(rank % torch.cuda.device_count())
