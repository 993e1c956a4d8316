"""`fourfold doctor --gpu`, with Triton's interpreter for a GPU."""

import pytest
import torch

import interpreted_triton
from fourfold.benchmarking import gpu_check
from fourfold.benchmarking.gpu_check import GpuCheck, check, markdown
from fourfold.cli import main
from fourfold.evaluation.bench_rasterizer import SceneSpec
from fourfold.render.triton_backend import interpreted, missing


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(capfd):
    assert main(["doctor", "--gpu"]) == 2
    assert "this machine has no GPU that torch can use" in capfd.readouterr().err


@pytest.mark.skipif(missing() != "" or not interpreted(), reason="Triton's interpreter is not here")
def test_the_table_tells_what_agrees_and_what_cannot_be_had(monkeypatch, tmp_path):
    interpreted_triton.hasten()
    monkeypatch.setattr(gpu_check, "training", lambda device, folder, numbers: {"psnr": 25.0, "seconds": 9.0, "error": None})
    numbers = GpuCheck(parity=SceneSpec("synth", 12, 12, 8, 4), scenes=((SceneSpec("synth", 8, 9, 7), 0.5),), repeats=1)
    value = check(torch.device("cpu"), tmp_path, numbers)
    triton, gsplat = value["parity"]
    assert triton["agrees"]
    assert triton["again"]
    assert not gsplat["agrees"]
    assert "backend 'cuda' got tensors on cpu" in gsplat["error"]
    page = markdown(value)
    assert "| yes | yes |" in page
    assert "held-out PSNR 25.00 dB" in page
    broken = value | {"training": {"psnr": None, "seconds": 1.0, "error": "RuntimeError: no kernel image"}}
    assert "RuntimeError: no kernel image" in markdown(broken)
