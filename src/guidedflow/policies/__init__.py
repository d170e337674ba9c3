"""Policies: an observation and a key give an action."""
