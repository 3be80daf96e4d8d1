"""The processes of one training, as the launcher announced them."""

from __future__ import annotations

import os

import torch.distributed as dist


def join_processes() -> tuple[int, int]:
    """Rank and count of the processes of this training; joins the group that the launcher announced."""
    if "WORLD_SIZE" not in os.environ:
        return 0, 1
    if not dist.is_initialized():
        dist.init_process_group("gloo")
    return dist.get_rank(), dist.get_world_size()
