"""What the machine can do: device, fast number formats, and peak floating-point rate.

The peaks of GPUs are the vendors' dense bfloat16 figures; a CPU's is measured by a short matrix
product in the format the run will use. Nothing here knows of models.
"""

import time

import torch

from triskele.train.config import Precision

GPU_PEAK_BF16_FLOPS = {
    "GB200": 2500e12,
    "B200": 2250e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "A100": 312e12,
    "A40": 150e12,
    "A10": 125e12,
    "L40S": 362e12,
    "L4": 121e12,
    "RTX 5090": 210e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
    "MI300X": 1307e12,
}
"""Dense bfloat16 peak by a part of the device's name; the first match counts."""

CPU_PROBE_SIZE = 1024
CPU_PROBE_SECONDS = 0.15


def choose_device(name: str | None, *, local_rank: int = 0) -> torch.device:
    """Return the device to train on.

    Parameters
    ----------
    name
        A torch device, or None for cuda where there is one and cpu elsewhere.
    local_rank
        Which of the machine's GPUs this process takes.

    Raises
    ------
    ValueError
        If the device does not exist here.
    """
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"compute.device must be a torch device, got {name!r}") from None
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise ValueError(f"compute.device is {name}, but torch sees no GPU on this machine")
        return torch.device("cuda", device.index if device.index is not None else local_rank)
    if device.type != "cpu":
        raise ValueError(f"compute.device must be cpu or cuda, got {name!r}")
    return device


def has_fast_bf16(device: torch.device) -> bool:
    """Tell whether the device multiplies bfloat16 matrices in hardware.

    Without such units a CPU's bfloat16 products are an order of magnitude slower than float32.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def choose_precision(precision: Precision, device: torch.device) -> Precision:
    """Return the precision of the matrix products: bf16 (autocast) or fp32, no longer auto."""
    if precision == "auto":
        return "bf16" if has_fast_bf16(device) else "fp32"
    return precision


def peak_flops(device: torch.device, dtype: torch.dtype) -> float | None:
    """Return the peak FLOP/s of the device for products in ``dtype``, or None where unknown.

    On a CPU this multiplies matrices for about a sixth of a second.
    """
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        peaks = (peak for part, peak in GPU_PEAK_BF16_FLOPS.items() if part in name)
        return next(peaks, None) if dtype == torch.bfloat16 else None
    return _measure_products(dtype)


def _measure_products(dtype: torch.dtype) -> float:
    """Time square products and return the best rate seen."""
    a = torch.ones(CPU_PROBE_SIZE, CPU_PROBE_SIZE, dtype=dtype)
    best = 0.0
    end = time.perf_counter() + CPU_PROBE_SECONDS
    while best == 0.0 or time.perf_counter() < end:
        begun = time.perf_counter()
        torch.mm(a, a)
        best = max(best, 2.0 * CPU_PROBE_SIZE**3 / (time.perf_counter() - begun))
    return best
