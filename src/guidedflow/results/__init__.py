"""What runs did, as rows, tables and pictures."""
