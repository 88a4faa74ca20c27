"""An OpenTelemetry collector that keeps what it gets, decoded by OpenTelemetry's own package.

Prints its address, then the address of its controls: POST /received returns everything so far, by signal; POST /behave sets what
the next exports get: {} is a success, {"status": 503} that status, {"hang": true} no answer at all.
"""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

exports = {"traces": [], "metrics": []}
order = {}
lock = threading.Lock()


def value_of(value):
    return getattr(value, value.WhichOneof("value"))


def attributes_of(pairs):
    return {pair.key: value_of(pair.value) for pair in pairs}


def span_of(span):
    return {
        "name": span.name,
        "kind": Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        "trace_id": span.trace_id.hex(),
        "span_id": span.span_id.hex(),
        "parent": span.parent_span_id.hex(),
        "is_parent_remote": bool(span.flags & 0x200),
        "status": Status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_").lower(),
        "message": span.status.message,
        "attributes": attributes_of(span.attributes),
        "nanoseconds": span.end_time_unix_nano - span.start_time_unix_nano,
        "others": len(span.events) + len(span.links) + len(span.trace_state),
    }


def number_of(point):
    return {
        "attributes": attributes_of(point.attributes),
        "start": point.start_time_unix_nano,
        "time": point.time_unix_nano,
        "value": getattr(point, point.WhichOneof("value")),
    }


def histogram_of(point):
    return {
        "attributes": attributes_of(point.attributes),
        "start": point.start_time_unix_nano,
        "time": point.time_unix_nano,
        "count": point.count,
        "sum": point.sum,
        "bounds": list(point.explicit_bounds),
        "buckets": list(point.bucket_counts),
    }


def metric_of(metric):
    kind = metric.WhichOneof("data")
    data = getattr(metric, kind)
    point_of = histogram_of if kind == "histogram" else number_of
    decoded = {
        "name": metric.name,
        "unit": metric.unit,
        "description": metric.description,
        "kind": kind,
        "points": [point_of(point) for point in data.data_points],
    }
    if kind != "gauge":
        decoded["temporality"] = AggregationTemporality.Name(data.aggregation_temporality).split("_")[-1].lower()
    if kind == "sum":
        decoded["is_monotonic"] = data.is_monotonic
    return decoded


def part(resource, scope, **contents):
    return {"resource": attributes_of(resource.resource.attributes), "scope": scope.scope.name, **contents}


def decoded_traces(body):
    request = ExportTraceServiceRequest.FromString(body)
    return [
        part(resource, scope, spans=[span_of(span) for span in scope.spans])
        for resource in request.resource_spans
        for scope in resource.scope_spans
    ]


def decoded_metrics(body):
    request = ExportMetricsServiceRequest.FromString(body)
    return [
        part(resource, scope, metrics=[metric_of(metric) for metric in scope.metrics])
        for resource in request.resource_metrics
        for scope in resource.scope_metrics
    ]


def trace_answer(rejected):
    answer = ExportTraceServiceResponse()
    answer.partial_success.rejected_spans = rejected
    return answer


def metric_answer(rejected):
    answer = ExportMetricsServiceResponse()
    answer.partial_success.rejected_data_points = rejected
    return answer


SIGNALS = {
    "/v1/traces": ("traces", decoded_traces, trace_answer),
    "/v1/metrics": ("metrics", decoded_metrics, metric_answer),
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def body(self):
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def answer(self, status, body, media_type="application/json"):
        self.send_response(status)
        self.send_header("content-type", media_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Collector(Handler):
    def do_POST(self):
        body = self.body()
        signal, decoded, answer = SIGNALS[self.path]
        with lock:
            exports[signal].append({
                "path": self.path,
                "headers": {name.lower(): value for name, value in self.headers.items()},
                "body": base64.b64encode(body).decode(),
                "text": body.decode("latin-1"),
                "parts": decoded(body),
            })
            current = dict(order)
        if current.get("hang"):
            threading.Event().wait()
        body = answer(current.get("rejected", 0)).SerializeToString()
        self.answer(current.get("status", 200), body, "application/x-protobuf")


class Controls(Handler):
    def do_POST(self):
        given = json.loads(self.body() or b"{}")
        with lock:
            if self.path == "/behave":
                order.clear()
                order.update(given)
                self.answer(200, b"{}")
            else:
                self.answer(200, json.dumps(exports).encode())


for handler in (Collector, Controls):
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    threading.Thread(target=server.serve_forever).start()
