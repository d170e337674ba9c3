"""Tests of the subfolders may import what test modules of this folder make."""
