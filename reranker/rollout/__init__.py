"""Changes a running service's bundle: rollout, rollback, and shadow scoring."""

from reranker.rollout.rollout import Rollout

__all__ = ["Rollout"]
