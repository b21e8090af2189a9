"""What a rollout tells whoever counts: the service's metrics."""

from __future__ import annotations


class Observer:
    """Hears everything and does nothing. Methods are called from several threads, and must not raise."""

    def changed(self, action: str, outcome: str) -> None:
        """``action``: reload, rollback, shadow, promote; ``outcome``: done, unchanged, refused."""

    def shadow_scored(self, seconds: float) -> None: ...

    def shadow_failed(self) -> None: ...

    def shadow_dropped(self) -> None: ...
