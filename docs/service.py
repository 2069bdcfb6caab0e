"""A service that learns new tasks, with torch alone: see deploy.md.

Usage: python service.py PROGRAM.pt2 [PORT]

PROGRAM.pt2 is an exported adaptation (``metaccord export RUN --out PROGRAM.pt2``). POST one JSON
object to http://127.0.0.1:PORT/: ``{"support": [[...], ...], "targets": [...], "queries": [...]}``;
the answer is ``{"outputs": [...]}``. A .pt2 file may hold code: serve only what you exported.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

import torch

DTYPES = {"float32": torch.float32, "int64": torch.int64}


class Service:
    """An exported adaptation: examples of a new task in, answers to its queries out."""

    def __init__(self, path):
        extra = {"metaccord.json": ""}
        self.program = torch.export.load(path, extra_files=extra).module()
        self.facts = json.loads(extra["metaccord.json"])

    def answer(self, request):
        inputs, targets = self.facts["inputs"], self.facts["targets"]
        support = self.tensor(request["support"], inputs)
        labels = self.tensor(request["targets"], targets)
        if len(support) != len(labels):
            raise ValueError(f"{len(support)} examples and {len(labels)} targets")
        with torch.no_grad():
            outputs = self.program(support, labels, self.tensor(request["queries"], inputs))
        return {"outputs": outputs.tolist()}

    @staticmethod
    def tensor(values, like):
        found = torch.tensor(values, dtype=DTYPES[like["dtype"]])
        if list(found.shape[1:]) != like["shape"] or not len(found):
            raise ValueError(f"shape {list(found.shape)}, expected [n, *{like['shape']}]")
        return found


def main(path, port="8000"):
    service = Service(path)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            try:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                code, answer = 200, service.answer(json.loads(body))
            except (ValueError, KeyError, TypeError) as error:
                code, answer = 400, {"error": str(error)}
            self.send_response(code)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

    HTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
