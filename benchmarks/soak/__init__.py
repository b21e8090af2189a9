"""An hour of good traffic with hostile clients beside it: the clients, the measurement and its picture."""
