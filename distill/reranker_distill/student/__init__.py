"""The student: a small cross-encoder that learns the teacher's order; its start point, its lists, its training."""
