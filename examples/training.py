"""How networks in the box are trained: from one seed, on one thread, so that each training gives the same weights."""

from __future__ import annotations

import sys
import time
from typing import Callable, TypeVar

import torch
from torch import nn

Module = TypeVar("Module", bound=nn.Module)


def trained(make: Callable[[], Module], loss_of: Callable[[Module], torch.Tensor], rate: float, steps: int) -> Module:
    """The network that `make` makes after so many steps; `loss_of` draws a batch anew and gives its loss."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # sums depend on how they are split among threads
    torch.use_deterministic_algorithms(True)
    network = make()
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, steps)
    start = time.monotonic()
    for step in range(steps):
        loss = loss_of(network)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 100 == 99:
            print(f"step {step + 1}/{steps}  loss {loss.item():.3f}  {time.monotonic() - start:.0f} s", file=sys.stderr)
    return network.eval()
