"""Changes a running service's bundle: rollout, rollback, and shadow scoring."""

from reranker.rollout.rollout import Rollout
from reranker.rollout.switchable import SwitchableReranker

__all__ = ["Rollout", "SwitchableReranker"]
