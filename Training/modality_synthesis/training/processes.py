"""On which devices, and in how many processes, a training runs.

Several processes are started by torchrun, by `srun`, or by `--devices`. What only looks like it (an allocation of four
tasks whose script never says `srun`, variables that another program left behind) must not make a process wait for
others that nobody started.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from modality_synthesis.choices import ACCELERATORS, STRATEGIES
from modality_synthesis.errors import UsageError
from modality_synthesis.stopping import end_with_process

Launcher = Literal["self", "torchrun", "srun"]
# Set by srun in each task of the step it starts.
_STEP = ("SLURM_STEP_NUM_TASKS", "SLURM_STEP_ID", "SLURM_STEPID")
# The process that starts the others (Lightning does, running the same command) says so to them.
_PARENT = "MODALITY_SYNTHESIS_TRAINING_PARENT"
_LEFT_BEHIND = ("MASTER_ADDR", "MASTER_PORT", "RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE")
# While the first process scores one fold, the others wait for it at the start of the next.
_WAIT = timedelta(hours=2)


@dataclass(frozen=True)
class Placement:
    """Devices of one training.

    Attributes:
        accelerator: cpu, cuda or mps.
        devices: processes per machine, each with a device of its own; on the CPU they share it.
        nodes: machines.
        distributed: whether gradients are exchanged, which also a single process may be asked to do.
        launcher: who starts the processes.
        note: what the user should know about it.
    """

    accelerator: str
    devices: int
    nodes: int
    distributed: bool
    launcher: Launcher = "self"
    note: str = ""

    @property
    def processes(self) -> int:
        return self.devices * self.nodes

    def strategy(self) -> Any:
        """Lightning's strategy."""
        if not self.distributed:
            return "auto"
        from lightning.pytorch.strategies import DDPStrategy

        # A phase uses a part of the parameters only. Buffers stay each process's own: there are none that training
        # changes, unless a network keeps running statistics, of which the first process's count.
        return DDPStrategy(find_unused_parameters=True, broadcast_buffers=False, timeout=_WAIT)

    def environment(self) -> Any:
        """Lightning's cluster environment, named: what it would guess from the variables may wait for ever."""
        from lightning.pytorch.plugins.environments import (
            LightningEnvironment,
            SLURMEnvironment,
            TorchElasticEnvironment,
        )

        if self.launcher == "torchrun":
            return TorchElasticEnvironment()
        if self.launcher == "srun":
            # Lightning insists on the variable, which is there only when the option was used.
            os.environ["SLURM_NTASKS_PER_NODE"] = str(self.devices)
            return SLURMEnvironment(auto_requeue=False)
        if _is_helper(os.environ):
            end_with_process(os.getppid())
        elif os.environ.get(_PARENT) != str(os.getpid()):  # in a second fold, the helpers of the first are still there
            for name in _LEFT_BEHIND:
                os.environ.pop(name, None)
            os.environ[_PARENT] = str(os.getpid())
        return LightningEnvironment()

    def precision(self, wanted: str) -> Any:
        """Lightning's precision for what the recipe wants.

        Raises:
            UsageError: 16-bit floats without a device that computes with them.
        """
        import torch

        if wanted == "16-mixed" and self.accelerator == "cpu":
            raise UsageError("training.precision 16-mixed needs a GPU. Use bf16-mixed, 32-true or auto.")
        if wanted != "auto":
            return wanted
        # Half precision pays on a GPU only: most CPUs emulate it many times slower.
        return "bf16-mixed" if self.accelerator == "cuda" and torch.cuda.is_bf16_supported() else "32-true"

    def describe(self) -> str:
        """For people."""
        import torch

        name = torch.cuda.get_device_name() if self.accelerator == "cuda" else self.accelerator.upper()
        machines = f", {self.nodes} machines" if self.nodes > 1 else ""
        return name if self.processes == 1 else f"{self.processes} processes on {name}{machines}"


def place(
    accelerator: str = "auto", devices: int | None = None, num_nodes: int | None = None, strategy: str = "auto"
) -> Placement:
    """Check a wish against this machine and what started the process.

    Args:
        accelerator: auto, cpu, gpu (cuda) or mps.
        devices: per machine; None takes as many as torchrun or SLURM started processes, else 1.
        num_nodes: machines; None asks torchrun or SLURM, else 1.
        strategy: auto, or ddp.

    Raises:
        UsageError: as `check_wish`, or devices that this machine does not have.
    """
    import torch

    wish = check_wish(accelerator, devices, num_nodes, strategy)
    kind = _kind(accelerator)
    present = {"cuda": torch.cuda.device_count(), "mps": 1}.get(kind)
    if present is not None and wish.devices > present:
        raise UsageError(
            f"{wish.devices} devices were asked for, but this machine has {present} {kind.upper()} device(s)."
        )
    distributed = strategy == "ddp" or wish.devices * wish.nodes > 1
    return Placement(kind, wish.devices, wish.nodes, distributed, wish.launcher, wish.note)


@dataclass(frozen=True)
class Wish:
    """What `Placement` says of the processes, before anybody looked for the devices."""

    devices: int
    nodes: int
    launcher: Launcher
    note: str


def check_wish(
    accelerator: str = "auto", devices: int | None = None, num_nodes: int | None = None, strategy: str = "auto"
) -> Wish:
    """Check a wish against what started the process, without loading torch; arguments as of `place`.

    Raises:
        UsageError: an unknown name, or more processes than were started.
    """
    if accelerator not in ACCELERATORS:
        raise UsageError(f"Unknown accelerator {accelerator!r}. Use auto, cpu, gpu or mps.")
    if strategy not in STRATEGIES:
        raise UsageError(f"Unknown strategy {strategy!r}. Use {' or '.join(STRATEGIES)}.")
    started, note = started_processes(os.environ), ""
    if started and _is_batch_script(os.environ):
        count, started = started[0] * started[1], None
        if devices is None:
            note = (
                f"SLURM allocated {count} tasks, but without srun this command was started once: it trains in one "
                f"process. For {count}: `srun modality-synthesis train ...`, or --devices N with --ntasks=1."
            )
    if num_nodes is not None and num_nodes > 1 and not started and not _is_helper(os.environ):
        raise UsageError(
            f"--num-nodes {num_nodes} needs this command started on every machine, by `srun` (SLURM) or `torchrun`."
        )
    devices = devices or (started[0] if started else 1)
    nodes = num_nodes or (started[1] if started else 1)
    launcher: Launcher = "self" if not started else "torchrun" if "TORCHELASTIC_RUN_ID" in os.environ else "srun"
    if started and (devices, nodes) != started:
        raise UsageError(
            f"{started[0]} processes on {started[1]} machine(s) were started, but {devices} devices on {nodes} "
            "machine(s) were asked for. Leave out --devices and --num-nodes, or make them agree."
        )
    if accelerator == "mps" and sys.platform != "darwin":
        raise _no_mps()
    return Wish(devices, nodes, launcher, note)


def started_processes(environment: Mapping[str, str]) -> tuple[int, int] | None:
    """Processes per machine, and machines, as torchrun or `srun` started them; None when they did not."""
    if "TORCHELASTIC_RUN_ID" in environment:
        local = int(environment["LOCAL_WORLD_SIZE"])
        return local, int(environment["WORLD_SIZE"]) // local
    # An interactive shell in an allocation has SLURM's variables too, but was not started once per device.
    tasks = int(environment.get("SLURM_NTASKS", 1))
    if tasks > 1 and "SLURM_PROCID" in environment and environment.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        nodes = int(environment.get("SLURM_NNODES", 1))
        if tasks % nodes:
            raise UsageError(
                f"SLURM's {tasks} tasks do not divide among {nodes} machines. Give --ntasks-per-node, the number of "
                "devices of each machine, instead of --ntasks."
            )
        return tasks // nodes, nodes
    return None


def _is_helper(environment: Mapping[str, str]) -> bool:
    """Whether Lightning started this process for the one that trains."""
    return environment.get(_PARENT) == str(os.getppid()) and environment.get("LOCAL_RANK", "0") != "0"


def _is_batch_script(environment: Mapping[str, str]) -> bool:
    """Whether SLURM started a script, once, in an allocation for several tasks: only `srun` starts one per task."""
    return "TORCHELASTIC_RUN_ID" not in environment and not any(name in environment for name in _STEP)


def _no_mps() -> UsageError:
    return UsageError("The device mps is not there. Use --accelerator cpu or auto.")


def _kind(accelerator: str) -> str:
    import torch

    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if accelerator == "auto":
        return "cuda" if cuda else "mps" if mps else "cpu"
    if accelerator in ("gpu", "cuda"):
        if cuda:
            return "cuda"
        if accelerator == "gpu" and mps:
            return "mps"
        raise UsageError("No CUDA device was found on this machine. Use --accelerator cpu or auto.")
    if accelerator == "mps" and not mps:
        raise _no_mps()
    return accelerator
