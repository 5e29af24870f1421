"""What Prometheus may ask: how long, how many, how full, and what the model said. Labels are few and never a client's own."""

from collections import Counter as _Tally
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from modelspec.runtime.artifact import Arrays, Artifact

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_CLASSES = 1000
"""Classes counted by name; a model with more is not one whose classes anyone watches."""

_COLUMNS = 2


class Metrics:
    """The figures of one server."""

    def __init__(self, artifact: Artifact) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter("modelspec_requests", "Requests answered.", ["route", "code"], registry=self.registry)
        self._seconds = Histogram(
            "modelspec_infer_seconds", "From the headers to the answer.", buckets=_SECONDS, registry=self.registry
        )
        self._run_seconds = Histogram(
            "modelspec_run_seconds", "One run of the model.", buckets=_SECONDS, registry=self.registry
        )
        self._rows = Histogram("modelspec_batch_rows", "Rows of one run.", buckets=_ROWS, registry=self.registry)
        self._joined = Histogram(
            "modelspec_batch_requests", "Requests joined into one run.", buckets=_ROWS, registry=self.registry
        )
        self._range = Counter(
            "modelspec_inputs_out_of_range",
            "Requests refused for a value out of range.",
            ["input"],
            registry=self.registry,
        )
        self._failures = Counter(
            "modelspec_model_failures", "Inputs that passed the checks and failed in the model.", registry=self.registry
        )
        self._predicted = Counter("modelspec_predicted", "Predicted classes.", ["class"], registry=self.registry)
        self._output = _classes(artifact)
        self._labels = artifact.outputs[self._output].labels if self._output else ()

    def watch(self, name: str, text: str, value: Callable[[], float]) -> None:
        """A gauge that is read when it is asked for."""
        Gauge(f"modelspec_{name}", text, registry=self.registry).set_function(value)

    def answered(self, route: str, code: int, seconds: float) -> None:
        """One request."""
        self._requests.labels(route, code).inc()
        if route == "infer":
            self._seconds.observe(seconds)

    def ran(self, requests: int, rows: int, seconds: float) -> None:
        """One run of the model."""
        self._run_seconds.observe(seconds)
        self._joined.observe(requests)
        self._rows.observe(rows)

    def out_of_range(self, name: str) -> None:
        """An input of the model, refused."""
        self._range.labels(name).inc()

    def failed(self) -> None:
        """The model failed."""
        self._failures.inc()

    def predicted(self, outputs: Arrays) -> None:
        """Count the classes, where the model is a classifier."""
        if self._output is None:
            return
        found = outputs[self._output]
        kinds = found.argmax(axis=1) if found.ndim == _COLUMNS else found
        for kind, count in _Tally(kinds.tolist()).items():
            named = isinstance(kind, int) and 0 <= kind < len(self._labels)
            self._predicted.labels(self._labels[kind] if named else str(kind)).inc(count)

    def text(self) -> bytes:
        """In the format of Prometheus."""
        return generate_latest(self.registry)


def _classes(artifact: Artifact) -> str | None:
    """The output that holds labels, or one column for each class."""
    if artifact.task != "classification":
        return None
    for tensor in artifact.outputs.values():
        if len(tensor.shape) == 1 and tensor.numpy.kind in "iuO":
            return tensor.name
    for tensor in artifact.outputs.values():
        columns = tensor.shape[-1] if len(tensor.shape) == _COLUMNS else None
        if isinstance(columns, int) and 1 < columns <= _CLASSES and tensor.numpy.kind == "f":
            return tensor.name
    return None
