"""What tells the folder of a run from any other."""

CONFIG = "config.json"
"""The file that a run begins with."""
MARK = "guidedflow_run"
"""The entry of it that no other file has; its value is the format of the run."""
