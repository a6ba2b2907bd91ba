import pytest
import torch

from triskele.train.hardware import (
    choose_device,
    choose_precision,
    has_fast_bf16,
    peak_flops,
)

CPU = torch.device("cpu")


def test_a_cpu_is_what_remains_without_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device(None) == CPU
    with pytest.raises(ValueError, match="sees no GPU"):
        choose_device("cuda")


def test_each_process_takes_the_gpu_of_its_number(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device(None, local_rank=3) == torch.device("cuda", 3)
    assert choose_device("cuda:1", local_rank=3) == torch.device("cuda", 1)


@pytest.mark.parametrize("name", ["tpu", "meta", ""])
def test_a_device_that_is_none_is_refused(name):
    with pytest.raises(ValueError, match=r"compute\.device must be"):
        choose_device(name)


@pytest.mark.parametrize(
    ("capabilities", "fast"),
    [
        ({"avx512_bf16": True}, True),
        ({"avx512_bf16": False, "amx_bf16": True}, True),
        ({"avx512_f": True}, False),
        ({}, False),
    ],
)
def test_a_cpu_computes_in_bf16_only_if_it_has_units_for_it(monkeypatch, capabilities, fast):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert has_fast_bf16(CPU) is fast
    assert choose_precision("auto", CPU) == ("bf16" if fast else "fp32")
    assert choose_precision("fp32", CPU) == "fp32"
    assert choose_precision("bf16", CPU) == "bf16"


def test_the_peak_of_a_cpu_is_measured():
    assert 1e8 < peak_flops(CPU, torch.float32) < 1e15


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("Some card of the future", None),
    ],
)
def test_the_peak_of_a_gpu_is_looked_up(monkeypatch, name, expected):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    device = torch.device("cuda", 0)
    assert peak_flops(device, torch.bfloat16) == expected
    assert peak_flops(device, torch.float32) is None
