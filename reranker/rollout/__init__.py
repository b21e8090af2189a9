"""Changing a running service's bundle: switch, roll back, and try another one in the shadow of the one that serves."""

from reranker.rollout.rollout import Rollout
from reranker.rollout.switchable import SwitchableReranker

__all__ = ["Rollout", "SwitchableReranker"]
