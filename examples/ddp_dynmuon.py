"""DDP, or FSDP2 with --fsdp, on the CPU or on GPUs: the optimizer takes the model as it is wrapped.

torchrun --nproc-per-node 2 examples/ddp_dynmuon.py [--fsdp]
"""

import gc
import os
import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from triskele.optim import DynMuon


def train(device: torch.device, *, fsdp: bool) -> None:
    """Wrap a toy model, train it, and report the loss from the first rank."""
    torch.manual_seed(0)
    vocabulary, width, n_steps = 64, 32, 60
    layer = nn.TransformerEncoderLayer(width, 4, dim_feedforward=64, dropout=0.0, batch_first=True)
    model: nn.Module = nn.Sequential(
        nn.Embedding(vocabulary, width), layer, nn.Flatten(0, 1), nn.Linear(width, vocabulary)
    ).to(device)
    if fsdp:
        fully_shard(layer)
        fully_shard(model)
    else:
        model = DistributedDataParallel(model)

    optimizer = DynMuon.from_model(model, total_steps=n_steps)

    torch.manual_seed(dist.get_rank())
    for step in range(n_steps):
        tokens = torch.randint(0, vocabulary, (16, 24), device=device)
        targets = (5 * tokens + 3) % vocabulary
        loss = nn.functional.cross_entropy(model(tokens), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 20 == 0 or step == n_steps - 1:
            dist.all_reduce(loss.detach_())
            if dist.get_rank() == 0:
                print(f"step {step:2d}  loss {loss.item() / dist.get_world_size():.3f}")


if __name__ == "__main__":
    on_gpu = torch.cuda.device_count() >= int(os.environ["WORLD_SIZE"])
    device = torch.device(f"cuda:{os.environ['LOCAL_RANK']}" if on_gpu else "cpu")
    if on_gpu:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if on_gpu else "gloo")
    train(device, fsdp="--fsdp" in sys.argv)
    # Nothing may hold the group any more: gloo's threads abort a process that exits under them.
    gc.collect()
    dist.destroy_process_group()
