"""Files that datasets come from: one module a format."""
