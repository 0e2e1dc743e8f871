"""A start of TokenBridge's head from what its codes have in common."""

import torch
from torch import nn
from torch.nn import functional as F

from atoken.generation import TokenBridgeModel


@torch.no_grad()
def share_digits(model: TokenBridgeModel) -> None:
    """
    Lets codes that share digits begin with rows that share parts, in the head's tables and outputs.

    A code of finite scalar quantization stands for c digits. Each row becomes a sum of one random vector for each
    digit, so that what is learned of a code soon holds for those that differ in one digit; rows of tables are as large
    as before. Training goes on with whole rows. This is not in the papers: it spares short trainings most of the time
    in which thousands of rows are learned one by one.

    Raises:
        ValueError: the codes have no digits.
    """
    if model.config.code_levels is None:
        raise ValueError("model must have code_levels, so that codes have digits, got None")
    levels = model.code_values.unique(return_inverse=True)[1].reshape(model.code_values.shape)  # (V, c)
    digits = F.one_hot(levels).flatten(1).float()  # (V, c levels)
    count = levels.shape[1]
    for table in model.head.code_embeds:
        table.weight.copy_(_rows(table.weight, digits, 1.0, count))
    for output in model.head.code_outputs:
        output.weight.copy_(_rows(output.weight, digits, output.in_features**-0.5, count))


def _rows(like: nn.Parameter, digits: torch.Tensor, deviation: float, count: int) -> torch.Tensor:
    parts = torch.randn(digits.shape[1], like.shape[1]) * deviation / count**0.5
    return digits @ parts
