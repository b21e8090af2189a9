"""Evaluation of rankings: judged-only nDCG@10, bootstrap intervals, latency, report and picture."""

from reranker.evaluation.comparison import Comparison, QueryScores, Ranker, evaluate_rankings

__all__ = ["Comparison", "QueryScores", "Ranker", "evaluate_rankings"]
