"""What a program that trains sets before anything else."""

import subprocess
import sys

# Values are compared as integers: where such numbers become zero, a comparison takes them for zero, too.
CODE = """
import torch
from atoken.training.program import begin

torch.set_num_threads(2)
begin(3)
drawn = torch.rand(2)
begin(3)
small = torch.full((1 << 20,), 1e-19)
product = (small * 1e-20).view(torch.int32)
same = torch.equal(torch.rand(2), drawn)
print(same, product.count_nonzero().item())
"""


def test_draws_are_seeded_and_tiny_numbers_become_zero_in_all_threads():
    result = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["True", "0"]
