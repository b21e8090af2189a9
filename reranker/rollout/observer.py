"""Events of a rollout, for the service's metrics."""

from __future__ import annotations


class Observer:
    """Does nothing; subclasses count. Methods are called from several threads and must not raise."""

    def changed(self, action: str, outcome: str) -> None:
        """``action``: reload, rollback, shadow, promote; ``outcome``: done, unchanged, refused."""

    def shadow_scored(self, seconds: float) -> None: ...

    def shadow_failed(self) -> None: ...

    def shadow_dropped(self) -> None: ...
