"""What a server counts, for Prometheus.

This module does not know what a request is.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class Metrics:
    """Counters, gauges and histograms of one server, in a separate registry."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "guidedflow_requests", "Answers by policy and outcome", ["policy", "outcome"], registry=registry
        )
        self.latency = Histogram(
            "guidedflow_request_seconds", "From request to answer", ["policy"], buckets=_SECONDS, registry=registry
        )
        self.inference = Histogram(
            "guidedflow_inference_seconds", "One call of a policy", ["policy"], buckets=_SECONDS, registry=registry
        )
        self.rows = Histogram(
            "guidedflow_batch_rows", "Requests in one call", buckets=(1, 2, 4, 8, 16, 32, 64, 128), registry=registry
        )
        self.queue = Gauge("guidedflow_queue", "Requests that wait", registry=registry)
        self.connections = Gauge("guidedflow_connections", "Open connections", registry=registry)
        self.reloads = Counter("guidedflow_reloads", "Reloads by outcome", ["outcome"], registry=registry)
        self.refused = Counter(
            "guidedflow_refused_connections", "Connections refused before any message", ["why"], registry=registry
        )

    def text(self) -> str:
        """The exposition format of Prometheus."""
        return generate_latest(self._registry).decode()
