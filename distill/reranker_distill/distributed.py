"""Several processes of one run, as ``accelerate launch`` or ``torchrun`` starts them: all train the teacher, the first does the rest."""

from __future__ import annotations

import os
import sys
from typing import Any


class DistributedContext:
    """The processes of this run, told apart by what their launcher put into the environment; one process where there is no launcher."""

    def __init__(self) -> None:
        self.number = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0")) if self.number > 1 else 0

    @property
    def first(self) -> bool:
        return self.rank == 0

    def told(self, value: Any) -> Any:
        """Return the first process's ``value`` in each of them; each waits for the others."""
        if self.number == 1:
            return value
        from accelerate.utils import broadcast_object_list

        self._meet()
        shared = [value]
        broadcast_object_list(shared)
        return shared[0]

    def disband(self) -> None:
        """Go on alone, on the first GPU: the others have ended, or are about to."""
        if self.number == 1:
            return
        from accelerate.state import AcceleratorState, PartialState

        if PartialState._shared_state:
            PartialState().destroy_process_group()
        AcceleratorState._reset_state(reset_partial_state=True)
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT"):
            os.environ.pop(name, None)
        self.rank, self.number = 0, 1

    def leave(self) -> None:
        """End this process, one that is not the first, at once: torch's threads may still talk to the others, and abort an orderly exit."""
        from accelerate.state import PartialState

        if PartialState._shared_state:
            PartialState().destroy_process_group()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)

    @staticmethod
    def _meet() -> Any:
        import torch
        from accelerate.state import PartialState

        return PartialState(cpu=not torch.accelerator.is_available())
