"""The reranker beside what else one could use: quality and time of each in one run, where a query's time goes, and how it grows."""
