"""Distil a large relevance teacher into a small student: judgments → teacher → labels → student → bundle."""
