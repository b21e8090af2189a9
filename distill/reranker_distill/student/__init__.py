"""The student: a small bi-encoder or cross-encoder that learns from the labels."""
