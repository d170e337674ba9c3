"""Where episodes become transitions: datasets, the files that they come from, and how to collect them.

Nothing is imported here, so that a process which only simulates never loads the array library.
"""
