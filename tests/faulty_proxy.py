"""A proxy in front of the real service that can be made to fail in several ways."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FaultyProxy:
    """Passes requests on to ``target``, unless ``fault`` says otherwise; a context manager.

    ``fault``: ``""`` none · ``hang`` no answer · ``slow`` an answer after ``delay_s`` · ``garbage`` no JSON · ``other`` JSON of another
    kind · ``nan`` scores that are no numbers · ``short`` a score too few · ``error`` status 500 · ``cut`` half an answer.
    ``on``: the end of the paths that the fault is for; the others work.
    """

    def __init__(self, target: str, host: str = "0.0.0.0") -> None:
        self.target, self.fault, self.on, self.delay_s = target, "", "", 3.0
        self.seen: list[str] = []
        served = self

        class Server(ThreadingHTTPServer):
            request_queue_size = 256
            daemon_threads = True

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                served.seen.append(self.path)
                body = self.rfile.read(int(self.headers["Content-Length"]))
                fault = served.fault if self.path.endswith(served.on) else ""
                if fault == "hang":
                    time.sleep(30)
                    self.close_connection = True
                    return
                if fault == "slow":
                    time.sleep(served.delay_s)
                canned = {"garbage": b"<html>oops", "other": b'{"foo": {"bar": 1}}', "nan": b'{"scores": [NaN, NaN], "request": NaN}', "error": b"{}"}
                if fault in canned:
                    self._send(500 if fault == "error" else 200, canned[fault])
                    return
                headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "content-length")}
                request = urllib.request.Request(served.target + self.path, body, headers)
                try:
                    with urllib.request.urlopen(request, timeout=30) as answer:
                        status, payload = answer.status, answer.read()
                except urllib.error.HTTPError as error:
                    status, payload = error.code, error.read()
                except OSError:
                    self.close_connection = True
                    return
                if fault == "short":
                    payload = b'{"scores":[0.5],"fallback_reason":null,"why_not":null}'
                self._send(status, payload, cut=fault == "cut")

            def _send(self, status: int, payload: bytes, *, cut: bool = False) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload[: len(payload) // 2] if cut else payload)
                self.close_connection = self.close_connection or cut

            def log_message(self, *args: object) -> None:
                pass

        self._server = Server((host, 0), Handler)
        self.port = self._server.server_port

    def __enter__(self) -> FaultyProxy:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
