"""The service under load: an open-loop load generator, the measurement and its picture."""
