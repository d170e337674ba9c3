"""Many runs: grids of tasks, algorithms, settings and seeds, carried out by processes here or by Ray.

Nothing is imported here, so that a worker can settle which cores it uses before JAX is loaded.
"""
