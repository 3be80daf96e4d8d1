"""The steps of a training: forward, backward, averages, checkpoints; resumable at any of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from methods.backbone.convolutions import channels_last
from methods.errors import NonFiniteError, UsageError
from methods.learning.draws import SampleRng, generator_seed
from methods.learning.task import Stage, TrainingTask
from methods.training.average import Average
from methods.training.checkpoints import Checkpoint, Checkpoints
from methods.training.config import FREE, TrainConfig, describe
from methods.training.features import FeatureStore
from methods.training.log import TrainingLog
from methods.training.optimizer import make_optimizers
from methods.training.pairs import Pairs
from methods.training.processes import Processes
from methods.weights import check_finite

Progress = Callable[[int, int, dict[str, float]], object]
"""Takes the steps done, the steps in all, and the last loss terms."""

Show = Callable[[Path], object]
"""Writes a sample sheet of the task's weights to a file."""

_GLOBAL, _SAMPLES = 4, 3  # kinds of random numbers
_PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass
class Position:
    """Where a training stands: which stage, steps done in it, and steps done in all."""

    stage: int = 0
    step: int = 0
    total: int = 0


class Loop:
    """One training.

    facts: what a resumed training must share with its checkpoint besides the configuration, JSON-able
    """

    def __init__(
        self,
        task: TrainingTask,
        config: TrainConfig,
        pairs: Pairs,
        store: FeatureStore,
        processes: Processes,
        output: Path,
        described: dict[str, Any],
        facts: dict[str, Any],
        show: Show,
    ) -> None:
        self.task, self.config, self.pairs, self.store = task, config, pairs, store
        self.processes, self.output, self.described, self.facts = processes, output, described, facts
        self.show = show
        self.checkpoints = Checkpoints(output / "checkpoints", config.keep)
        self.samples = config.batch * config.accumulation * processes.count
        self.steps = sum(stage.steps for stage in task.stages)
        self.at = Position()
        self.terms: dict[str, float] = {}
        self._average = Average(task.module, config.average)
        self._optimizers: list[torch.optim.Optimizer] = []
        self._trained: dict[str, nn.Parameter] = {}
        self._scaler = torch.amp.GradScaler(processes.device.type, enabled=config.precision == "float16")
        self._saved = -1
        self._resumed: Checkpoint | None = None

    def resume(self) -> Checkpoint | None:
        """Take up the newest whole checkpoint; None when there is none, and the training starts anew.

        Raises UsageError when it belongs to another training.
        """
        found = self.checkpoints.latest()
        if found is None:
            return None
        state = found.state
        self._check(found)
        self.at = Position(state["stage"], state["step"], state["total"])
        self.task.module.load_state_dict(found.tensors("module"))
        self._average.load_state_dict({"tensors": found.tensors("average"), "count": state["averaged"]})
        if state["scaler"]:
            self._scaler.load_state_dict(state["scaler"])
        self._saved = self.at.total
        self._resumed = found
        return found

    def run(self, progress: Progress | None = None) -> None:
        """Train to the end of the last stage, then write a last checkpoint."""
        main = self.processes.main
        with ExitStack() as stack:
            log = None
            if main:
                tensorboard = self.config.tensorboard
                log = stack.enter_context(
                    TrainingLog(self.output, after=self.at.total, tensorboard=tensorboard)
                )
            started = time.monotonic()
            self._mend_preview()
            while self.at.stage < len(self.task.stages):
                stage = self.task.stages[self.at.stage]
                self._begin(stage)
                while self.at.step < stage.steps:
                    with self._attached():
                        for _ in range(self._until_preview(stage)):
                            record = self._step(stage)
                            if log is not None:
                                seconds = round(time.monotonic() - started, 3)
                                log.write(self.at.total, {**record, "seconds": seconds})
                            if progress is not None:
                                progress(self.at.total, self.steps, self.terms)
                            if self.at.total % self.config.checkpoint_every == 0:
                                self._save()
                    if self.config.preview_every and self.at.total % self.config.preview_every == 0:
                        self.preview()
                self._save()
                self.at = Position(self.at.stage + 1, 0, self.at.total)
        self.processes.wait()

    def preview(self) -> None:
        """Write a sample sheet of the averaged weights."""
        if self.processes.main:
            folder = self.output / "previews"
            folder.mkdir(parents=True, exist_ok=True)
            for left in folder.glob(".*.tmp"):  # of a write that was killed
                left.unlink(missing_ok=True)
            with self._average.applied():
                self.show(folder / f"step_{self.at.total:06d}.png")
        self.processes.wait()

    def _mend_preview(self) -> None:
        """The sheet that was due at the checkpoint we go on from, where a kill came before it."""
        due = self.at.total and self.config.preview_every and self.at.total % self.config.preview_every == 0
        if due and not (self.output / "previews" / f"step_{self.at.total:06d}.png").is_file():
            self.preview()

    def export(self, folder: Path) -> None:
        """Let the task write its adapter with the averaged weights. Raises NonFiniteError for broken ones."""
        if self.processes.main:
            with self._average.applied():
                self._refuse_broken_weights()
                self.task.export(folder)
        self.processes.wait()

    # --- one step ------------------------------------------------------------------------------------

    def _step(self, stage: Stage) -> dict[str, Any]:
        """One optimizer step; returns what the log says of it."""
        config, first = self.config, self.at.total * self.samples
        torch.manual_seed(generator_seed(config.seed, _GLOBAL, self.at.total, self.processes.index))
        rate = config.rate * stage.rate * config.learning_rate(self.at.step, stage.steps)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * group["factor"]
            optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        for turn in range(config.accumulation):
            start = first + (turn * self.processes.count + self.processes.index) * config.batch
            terms = self._losses(range(start, start + config.batch))
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + value.detach() / config.accumulation
            self._scaler.scale(terms["loss"] / config.accumulation).backward()
        self.terms = self.processes.mean(sums)
        self._refuse_non_finite(self.terms)

        trained = list(self._trained.values())
        self.processes.average_gradients(trained)
        for optimizer in self._optimizers:
            self._scaler.unscale_(optimizer)
        norm = float(nn.utils.clip_grad_norm_(trained, config.clip))
        if not self._scaler.is_enabled():
            self._refuse_non_finite({"the gradient's norm": norm})
        if math.isfinite(norm):  # else clipping has spread the overflow over all optimizers' gradients
            for optimizer in self._optimizers:
                self._scaler.step(optimizer)
        self._scaler.update()  # after a step left out, a lower scale
        self._average.update()
        self.at.step += 1
        self.at.total += 1
        return {"stage": stage.name, **self.terms, "gradient_norm": norm, "rate": rate}

    def _losses(self, numbers: range) -> dict[str, Tensor]:
        config, device = self.config, self.processes.device
        batch = self.pairs.batch(numbers, self.store).to(device)
        seed = generator_seed(config.seed, _SAMPLES)
        rng = SampleRng(seed, numbers, batch=self.samples, device=device)
        dtype = _PRECISIONS[config.precision]
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            terms = self.task.losses(batch, rng)
        if "loss" not in terms:
            raise ValueError(f"{type(self.task).__name__}.losses gave no `loss`")
        return terms

    def _refuse_non_finite(self, values: dict[str, float]) -> None:
        broken = [name for name, value in values.items() if not math.isfinite(value)]
        if not broken:
            return
        last = self.checkpoints.latest()
        good = f"The last good checkpoint is {last.folder}" if last else "There is no checkpoint yet"
        raise NonFiniteError(
            f"Step {self.at.total + 1}: {' and '.join(broken)} left the finite numbers.",
            hint=f"{good}; try a lower rate, or precision: float32.",
        )

    def _refuse_broken_weights(self) -> None:
        """The loss of a step says nothing of the weights after it; what is kept has to be numbers."""
        check_finite(
            self.task.module.state_dict(),
            f"The weights after step {self.at.total}",
            hint="Go on from an earlier checkpoint; try a lower rate, or precision: float32.",
        )

    # --- stages --------------------------------------------------------------------------------------

    def _begin(self, stage: Stage) -> None:
        """Choose what this stage trains; its optimizers start afresh, or as the checkpoint left them."""
        self.task.begin(stage)
        self._trained = {name: p for name, p in self.task.module.named_parameters() if p.requires_grad}
        if not self._trained:
            raise ValueError(f"{type(self.task).__name__} trains nothing in its stage {stage.name}")
        self._optimizers = make_optimizers(self._trained, self.config, self.task.rates)
        if self._resumed is not None and self.at.step:
            for name, tensor in self._resumed.tensors("optimizer").items():
                kind, _, own = name.partition("/")
                where = "cpu" if kind == "step" else self.processes.device
                self._state(self._trained[own])[kind] = tensor.to(where)
        self._resumed = None

    def _state(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        """What the optimizer of a parameter keeps of it."""
        optimizer = next(
            one
            for one in self._optimizers
            if any(parameter is own for group in one.param_groups for own in group["params"])
        )
        return optimizer.state[parameter]

    @contextmanager
    def _attached(self) -> Iterator[None]:
        """Everything that has to be in place around forward and backward."""
        networks: tuple[Any, ...] = self.task.backbone.denoiser.modules()
        with ExitStack() as stack:
            device = self.processes.device
            stack.enter_context(torch.random.fork_rng([] if device.type == "cpu" else [device]))
            stack.enter_context(self.task.backbone.attention_backend(gradients=True))
            if device.type == "cpu":  # a tenth less time
                stack.enter_context(channels_last(networks))
            if self.config.gradient_checkpointing:
                for network in networks:
                    network.enable_gradient_checkpointing()
                    stack.callback(network.disable_gradient_checkpointing)
            stack.enter_context(self.task.attached())
            yield

    def _until_preview(self, stage: Stage) -> int:
        """Steps to take before the hooks have to be removed."""
        left, every = stage.steps - self.at.step, self.config.preview_every
        return min(left, every - self.at.total % every) if every else left

    # --- checkpoints ---------------------------------------------------------------------------------

    def _save(self) -> None:
        if self.at.total == self._saved:
            return
        if self.processes.main:
            self._refuse_broken_weights()
            optimizer = {
                f"{kind}/{name}": tensor
                for name, parameter in self._trained.items()
                for kind, tensor in self._state(parameter).items()
            }
            self.checkpoints.save(
                self.at.total,
                {
                    "module": self.task.module.state_dict(),
                    "average": self._average.state_dict()["tensors"],
                    "optimizer": optimizer,
                },
                {
                    "stage": self.at.stage,
                    "step": self.at.step,
                    "total": self.at.total,
                    "averaged": self._average.count,
                    "scaler": self._scaler.state_dict(),
                    "random": {"seed": self.config.seed, "next_sample": self.at.total * self.samples},
                    "samples_per_step": self.samples,
                    "config": self.described,
                    "facts": self.facts,
                },
            )
        self._saved = self.at.total

    def _check(self, found: Checkpoint) -> None:
        """Refuse to go on with another configuration, other data, or other models."""
        then, now = {**describe(TrainConfig(), {}), **found.state["config"]}, self.described
        changed = [name for name in now if name not in FREE and then.get(name) != now[name]]
        if found.state["samples_per_step"] != self.samples:
            changed.append(
                f"samples per step (batch x accumulation x processes: "
                f"{found.state['samples_per_step']} then, {self.samples} now)"
            )
        changed += [name for name in self.facts if found.state["facts"].get(name) != self.facts[name]]
        if changed:
            raise UsageError(
                f"{found.folder} belongs to another training; different: {', '.join(changed)}.",
                hint="Continue with the same configuration and data, or choose another --output.",
            )
