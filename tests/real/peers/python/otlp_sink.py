"""An OpenTelemetry collector that keeps what it gets, decoded by OpenTelemetry's own package.

Prints its address, then the address of its controls: POST /received returns everything so far, POST /behave sets what the next
exports get: {} is a success, {"status": 503} that status, {"hang": true} no answer at all.
"""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

exports = []
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


def decoded(body):
    request = ExportTraceServiceRequest.FromString(body)
    return [
        {
            "resource": attributes_of(resource.resource.attributes),
            "scope": scope.scope.name,
            "spans": [span_of(span) for span in scope.spans],
        }
        for resource in request.resource_spans
        for scope in resource.scope_spans
    ]


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
        with lock:
            exports.append({
                "path": self.path,
                "headers": {name.lower(): value for name, value in self.headers.items()},
                "body": base64.b64encode(body).decode(),
                "text": body.decode("latin-1"),
                "parts": decoded(body),
            })
            current = dict(order)
        if current.get("hang"):
            threading.Event().wait()
        answer = ExportTraceServiceResponse()
        answer.partial_success.rejected_spans = current.get("rejected", 0)
        self.answer(current.get("status", 200), answer.SerializeToString(), "application/x-protobuf")


class Controls(Handler):
    def do_POST(self):
        given = json.loads(self.body() or b"{}")
        with lock:
            if self.path == "/behave":
                order.clear()
                order.update(given)
                self.answer(200, b"{}")
            else:
                self.answer(200, json.dumps({"exports": exports}).encode())


for handler in (Collector, Controls):
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    threading.Thread(target=server.serve_forever).start()
