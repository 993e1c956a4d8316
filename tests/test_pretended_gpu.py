"""What is held to the pretended GPU, in processes of their own: autograd counts the devices once, at the first backward pass of a process."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("cases", ["pretended_twins.py", "pretended_recipes.py"])
def test_on_the_pretended_gpu(cases):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(Path(__file__).with_name(cases))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
