"""How good rankings are: judged-only nDCG@10, bootstrap intervals, latency, a report and a picture."""

from reranker.evaluation.comparison import Comparison, QueryScores, Ranker, evaluate_rankings

__all__ = ["Comparison", "QueryScores", "Ranker", "evaluate_rankings"]
