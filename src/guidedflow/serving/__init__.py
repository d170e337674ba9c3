"""From a run to a robot: exported policies, the policy server and its client.

Importing this package imports nothing else, so that a client needs NumPy, websockets and msgpack only.
"""
