"""A run on disk: configuration, checkpoints, metrics, and the policies that it has learned."""
