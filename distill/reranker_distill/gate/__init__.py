"""The gate: what a bundle must reach on held-out intents before it may serve."""
