"""What the pocket trainings share: the budgeted schedule, checkpoints, the log, pictures."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from methods.errors import WeightsError
from methods.files import write_atomic
from methods.training.average import Average
from scripts.pocket.muon import SharedMuon
from scripts.pocket.processes import join_processes

CHECKPOINT_SECONDS = 120.0


@dataclass
class Budget:
    """Wall-clock and step budget of a training; `progress` in [0, 1] drives the learning rate.

    A resumed run counts the seconds that its earlier parts spent, so that the schedule is one curve.
    """

    minutes: float
    steps: int | None = None
    spent: float = 0.0
    step: int = 0

    def __post_init__(self) -> None:
        self._started = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds of training so far, over all resumed parts."""
        return self.spent + time.monotonic() - self._started

    @property
    def progress(self) -> float:
        """Fraction of the budget that is used, in [0, 1]; steps count where they were given."""
        used = self.step / self.steps if self.steps else self.elapsed / (60.0 * self.minutes)
        return min(used, 1.0)

    @property
    def finished(self) -> bool:
        """Whether the budget is used up."""
        return self.progress >= 1.0

    def learning_rate(
        self, peak: float, *, warmup: int = 200, final: float = 0.02, progress: float | None = None
    ) -> float:
        """Linear warm-up over `warmup` steps, then a cosine from `peak` to `final * peak`.

        `progress` replaces this budget's own: processes that train together go by the first one's clock.
        """
        at = self.progress if progress is None else progress
        cosine = final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * at))
        return peak * min(1.0, (self.step + 1) / warmup) * cosine


class Checkpoint:
    """One resumable checkpoint file, replaced atomically at most every `CHECKPOINT_SECONDS`.

    Args:
        folder: the working folder of this training.
        stateful: objects with `state_dict` / `load_state_dict`, by name.
    """

    def __init__(self, folder: Path, budget: Budget, **stateful: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "checkpoint.pt"
        self.budget = budget
        self.stateful = stateful
        self._last = time.monotonic()

    def resume(self, rng: np.random.Generator) -> bool:
        """Load the last checkpoint if there is one; returns whether there was."""
        if not self.path.is_file():
            return False
        state = torch.load(self.path, weights_only=True, map_location="cpu")
        for name, thing in self.stateful.items():
            thing.load_state_dict(state[name])
        self.budget.spent, self.budget.step = state["spent"], state["step"]
        rng.bit_generator.state = json.loads(state["numpy"])
        torch.set_rng_state(state["torch"])
        return True

    def save(self, rng: np.random.Generator, *, force: bool = False) -> None:
        """Write the state when it is due (or `force`)."""
        if not force and time.monotonic() - self._last < CHECKPOINT_SECONDS:
            return
        state: dict[str, Any] = {name: thing.state_dict() for name, thing in self.stateful.items()}
        state |= {"spent": self.budget.elapsed, "step": self.budget.step}
        state |= {"numpy": json.dumps(rng.bit_generator.state), "torch": torch.get_rng_state()}
        write_atomic(self.path, lambda file: torch.save(state, file))
        self._last = time.monotonic()


class Log:
    """Appends one JSON line per report to `log.jsonl` and echoes it."""

    def __init__(self, folder: Path, every: int = 50) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "log.jsonl"
        self.every = every
        self._sums: dict[str, float] = {}
        self._count = 0

    def add(self, budget: Budget, **values: float) -> None:
        """Accumulate loss terms; the mean is written every `every` steps."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value)
        self._count += 1
        if self._count < self.every:
            return
        self.write(budget, {name: total / self._count for name, total in self._sums.items()})
        self._sums, self._count = {}, 0

    def write(self, budget: Budget, values: Mapping[str, float]) -> None:
        """One line at once."""
        rounded = {name: round(value, 5) for name, value in values.items()}
        line = {"step": budget.step, "seconds": round(budget.elapsed, 1), **rounded}
        with self.path.open("a") as stream:
            stream.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)


class Course:
    """One training: budget, learning rate, averaging, log and checkpoint of one optimizer.

    Under `python -m torch.distributed.run` the processes draw batches of their own and average their
    gradients; on a few cores that is faster than as many threads in one process, which wait for each other
    at every operator. The first process keeps log and checkpoint.

    Args:
        folder: working folder (`checkpoint.pt`, `log.jsonl`, `figures.json`).
        modules: everything that learns; its state is what a checkpoint restores.
        optimizer: its present learning rate is the peak of the schedule.
        average: decay of an exponential moving average of the parameters, None for none.
        others: what else a checkpoint restores (a critic and its optimizer), by name.
    """

    def __init__(
        self,
        folder: Path,
        modules: nn.Module,
        optimizer: torch.optim.Optimizer | SharedMuon,
        *,
        minutes: float,
        steps: int | None,
        resume: bool,
        seed: int,
        average: float | None = None,
        warmup: int = 200,
        clip: float = 1.0,
        log_every: int = 50,
        others: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder, self.modules, self.optimizer = folder, modules, optimizer
        self.peak, self.warmup, self.clip = optimizer.param_groups[0]["lr"], warmup, clip
        self.budget = Budget(minutes, steps)
        self._progress = 0.0
        self.rank, self.processes = join_processes()
        self.rng = np.random.default_rng(seed)
        self._average = None if average is None else Average(modules, average)
        stateful: dict[str, Any] = {"modules": modules, "optimizer": optimizer, **(others or {})}
        if self._average:
            stateful["average"] = self._average
        self._checkpoint = Checkpoint(folder, self.budget, **stateful)
        self._log = Log(folder, log_every)
        torch.manual_seed(seed)
        if resume:
            self._checkpoint.resume(self.rng)
        if self.processes > 1:
            self.rng = np.random.default_rng([seed, self.budget.step, self.rank])

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def steps(self) -> Iterator[int]:
        """The numbers of the steps to take, until the budget is used up; then a last checkpoint."""
        while (progress := self._agree(self.budget.progress)) < 1.0:
            self._progress = progress
            yield self.budget.step
        if self.first:
            self._checkpoint.save(self.rng, force=True)

    def _agree(self, value: float) -> float:
        """The first process's value."""
        if self.processes == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64)
        dist.broadcast(shared, src=0)
        return float(shared)

    def _average_gradients(self) -> None:
        gradients = [p.grad for p in self.modules.parameters() if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.processes
        for gradient, piece in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(piece.view_as(gradient))

    def learn(self, loss: Tensor, **terms: Tensor | float) -> None:
        """One optimizer step on `loss`; logs `terms` (the loss itself without any), checkpoints when due."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.budget.learning_rate(self.peak, warmup=self.warmup, progress=self._progress)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.processes > 1:
            self._average_gradients()
        nn.utils.clip_grad_norm_(self.modules.parameters(), self.clip)
        self.optimizer.step()
        if self._average:
            self._average.update()
        self.budget.step += 1
        if not self.first:
            return
        reported = terms or {"loss": loss}
        self._log.add(
            self.budget, **{name: float(torch.as_tensor(v).detach()) for name, v in reported.items()}
        )
        self._checkpoint.save(self.rng)

    def note(self, **figures: float) -> None:
        """Write figures that were measured on the way into the log."""
        if self.first:
            self._log.write(self.budget, figures)

    def averaged(self) -> AbstractContextManager[None]:
        """Within the block the modules hold their averaged parameters."""
        if self._average is None:
            raise ValueError("this training keeps no average")
        return self._average.applied()

    def finish(self, **figures: Any) -> dict[str, Any]:
        """Add what the training cost to the measured `figures` and keep them beside the log."""
        cost = {"steps": self.budget.step, "minutes": round(self.budget.elapsed / 60, 1)}
        if self.first:
            (self.folder / "figures.json").write_text(json.dumps(figures | cost, indent=1) + "\n")
        return figures | cost


def compiles(device: str, always: bool) -> bool:
    """Whether networks are compiled: on an accelerator, on a processor `always` only; what cannot be compiled
    runs as it is."""
    if torch.device(device).type == "cpu" and not always:
        return False
    torch._dynamo.config.suppress_errors = True
    return True


def compiled(call: Any, device: str, always: bool = False) -> Any:
    """The same call, compiled where that is worth it.

    always: on a processor too, where compiling the U-Net takes six minutes and a step two thirds of its time.
    """
    return torch.compile(call) if compiles(device, always) else call


def start_from(module: nn.Module, path: Path) -> None:
    """Give a fresh module the weights of a snapshot: a `.safetensors` file, or a folder with all its parts.

    Raises WeightsError for a missing snapshot, or one of another shape.
    """
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    if not files or not all(file.is_file() for file in files):
        raise WeightsError(f"{path}: no weights to start from.", hint="Name the folder of a snapshot.")
    tensors = {name: value.float() for file in files for name, value in load_file(file).items()}
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise WeightsError(
            f"{path}: these are weights of another network ({str(error).splitlines()[-1].strip()}).",
            hint="Start from a snapshot of the same generation, or leave it out.",
        ) from error


def to_pixels(pictures: np.ndarray) -> Tensor:
    """uint8 `[N,H,W,3]` to float32 `[N,3,H,W]` in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def to_pictures(pixels: Tensor) -> np.ndarray:
    """float `[N,3,H,W]` in [-1, 1] to uint8 `[N,H,W,3]`, clamped and rounded."""
    scaled = pixels.detach().float().clamp(-1, 1).add(1.0).mul(127.5).round()
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).numpy()


def save_grid(pictures: np.ndarray, columns: int, path: Path) -> None:
    """Write uint8 pictures `[N,H,W,3]` as one PNG grid, row by row."""
    count, height, width, _ = pictures.shape
    rows = math.ceil(count / columns)
    sheet = Image.new("RGB", (columns * width, rows * height))
    for i, picture in enumerate(pictures):
        sheet.paste(Image.fromarray(picture), (i % columns * width, i // columns * height))
    sheet.save(path)
