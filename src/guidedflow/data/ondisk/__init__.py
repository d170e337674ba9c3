"""Datasets on disk that may exceed memory: how they are written and read."""
