"""Several processes of one run, started by ``accelerate launch`` or ``torchrun``: all train the teacher, the main one does the rest."""

from __future__ import annotations

import os
import sys
from typing import Any, NoReturn

_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")


class DistributedContext:
    """This process among those of the run, by the launcher's environment variables; one process where there is no launcher."""

    def __init__(self) -> None:
        self.world_size = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0")) if self.world_size > 1 else 0

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def broadcast(self, value: Any) -> Any:
        """Return the main process's ``value`` in each process; each waits for the others."""
        if self.world_size == 1:
            return value
        import torch
        from accelerate.state import PartialState
        from accelerate.utils import broadcast_object_list

        PartialState(cpu=not torch.accelerator.is_available())  # joins the process group
        values = [value]
        broadcast_object_list(values)
        return values[0]

    def detach(self) -> None:
        """Let the main process continue alone, on the first GPU; the others exit by ``exit_worker``."""
        if self.world_size == 1:
            return
        from accelerate.state import AcceleratorState

        self._destroy_process_group()
        AcceleratorState._reset_state(reset_partial_state=True)
        for name in _VARIABLES:
            os.environ.pop(name, None)
        self.rank, self.world_size = 0, 1

    def exit_worker(self) -> NoReturn:
        """End this process, not the main one, at once: torch's threads may still talk to the others, and abort an orderly exit."""
        self._destroy_process_group()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)

    @staticmethod
    def _destroy_process_group() -> None:
        from accelerate.state import PartialState

        if PartialState._shared_state:
            PartialState().destroy_process_group()
