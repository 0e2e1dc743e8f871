"""Settings for all tests: no network, and one thread per process, as several processes share the cores."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch  # noqa: E402

torch.set_num_threads(1)
