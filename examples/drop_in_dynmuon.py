"""Swap the optimizer of your own loop: one line changes."""

import torch
from torch import nn

from triskele.optim import DynMuon

torch.manual_seed(0)
vocabulary, width = 64, 32
model = nn.Sequential(
    nn.Embedding(vocabulary, width),
    nn.TransformerEncoderLayer(width, nhead=4, dim_feedforward=64, dropout=0.0, batch_first=True),
    nn.Linear(width, vocabulary),
)
n_steps = 100

# This line was torch.optim.AdamW with the same model's parameters.
optimizer = DynMuon.from_model(model, total_steps=n_steps)
print(optimizer.describe())

scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 - step / n_steps)
for step in range(n_steps):
    tokens = torch.randint(0, vocabulary, (16, 24))
    targets = (5 * tokens + 3) % vocabulary
    loss = nn.functional.cross_entropy(model(tokens).flatten(0, 1), targets.flatten())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    scheduler.step()
    if step % 20 == 0 or step == n_steps - 1:
        p = next(group["p"] for group in optimizer.param_groups if "p" in group)
        print(f"step {step:3d}  loss {loss.item():.3f}  p {p:+.3f}")
