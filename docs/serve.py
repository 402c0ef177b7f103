"""A recommendation server on a checkpoint, with Python's standard library: new users are folded in, nobody is trained.

python docs/serve.py saved/MODEL.pth        # where the package is installed: .venv/bin/python in a checkout
curl 'localhost:8000/recommend?user=196&k=5'
curl 'localhost:8000/recommend?k=5' -d '{"50": 5, "172": 5, "288": 1}'
"""

import argparse
import json
import sys
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from recbole_autorec import AutoRecError, Predictor


def handler_for(predictor: Predictor) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            """A known user's best items."""
            self.answer(lambda user, k: predictor.recommend(user, k))

        def do_POST(self):
            """A new user's, from the ratings in the body: item -> stars."""
            self.answer(lambda _, k: predictor.fold_in_user(json.loads(self.body())).recommend(k))

        def body(self):
            return self.rfile.read(int(self.headers["Content-Length"] or 0))

        def answer(self, recommend):
            address = urlsplit(self.path)
            if address.path != "/recommend":
                self.send_error(404)
                return
            asked = parse_qs(address.query)
            try:
                best = recommend(asked.get("user", [""])[0], int(asked.get("k", ["10"])[0]))
                code, text = 200, best.to_json(orient="records")
            except (AutoRecError, ValueError) as error:
                code, text = 400, json.dumps({"error": str(error)})
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(text.encode() + b"\n")

    return Handler


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    try:
        server = ThreadingHTTPServer(("127.0.0.1", options.port), handler_for(Predictor.load(options.checkpoint)))
    except (AutoRecError, OSError, OverflowError) as error:
        sys.exit(f"error: {error}")
    print(f"http://127.0.0.1:{server.server_port}/recommend", flush=True)
    with suppress(KeyboardInterrupt):
        server.serve_forever()


if __name__ == "__main__":
    main()
