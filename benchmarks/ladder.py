"""What to do when memory runs out: smaller batches, then tiled decoding, then offloading, then give up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from methods.backbone.backbone import Backbone
    from methods.hooks import Job
    from methods.sampling import Result

_SAID_BY_ALLOCATORS = ("out of memory", "can't allocate memory", "failed to allocate")


class Ladder:
    """Runs batches, and steps down a rung each time memory runs out; it never climbs again.

    relieve: called first when memory runs out; whether it ended what took memory beside the batch, which is
    then tried once more. falls: what was stepped down to, in words. Once there is one, timings say more about
    memory than about methods, and `valid` is False.
    """

    def __init__(self, backbone: Backbone, batch_size: int, on_fall: Callable[[str], object]) -> None:
        self.backbone = backbone
        self.batch_size = batch_size
        self.falls: list[str] = []
        self.relieve: Callable[[], bool] = lambda: False
        self._on_fall = on_fall

    @property
    def valid(self) -> bool:
        return not self.falls

    def run(self, jobs: Sequence[Job], make: Callable[[Sequence[Job]], list[Result]]) -> list[Result]:
        """`make` on all jobs, in batches of what memory holds. Raises what `make` raises on the last rung."""
        results: list[Result] = []
        while len(results) < len(jobs):
            batch = jobs[len(results) : len(results) + self.batch_size]
            try:
                results += make(batch)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or not (self.relieve() or self._step_down(len(batch))):
                    raise
                if self.backbone.device.type == "cuda":
                    torch.cuda.empty_cache()
        return results

    def _step_down(self, tried: int) -> bool:
        backbone = self.backbone
        if tried > 1:
            self.batch_size = tried // 2
            fall = f"batch {tried} -> {self.batch_size}"
        elif not backbone.origin.get("vae_tiling"):
            backbone.decode_in_tiles()
            fall = "decoding in tiles"
        elif not backbone.offload and backbone.device.type != "cpu":
            backbone.offload_idle()
            fall = "idle models off the device"
        else:
            return False
        self.falls.append(fall)
        self._on_fall(fall)
        return True


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on whatever device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error).lower() for text in _SAID_BY_ALLOCATORS)
