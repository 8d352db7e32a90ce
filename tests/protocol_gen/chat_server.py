"""A local server that speaks chat completions and behaves as a script says, for tests of the real client."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY, MODEL = "right-key", "scripted-model"


@dataclass(frozen=True)
class Turn:
    """What happens to one request."""

    text: str | None = ""  # the answer; None leaves the content out
    status: int = 200
    finish_reason: str = "stop"
    delay_s: float = 0.0
    drops: bool = False  # the connection is closed without an answer
    message: str = "scripted error"
    body: str | None = None  # the whole answer of the endpoint, in place of a completion


class ChatServer:
    """Answers requests by a list of turns, in order.

    Attributes:
        requests: the bodies of all requests, in order.
        answered: the prompts that were given an answer.
    """

    def __init__(self, turns: list[Turn]) -> None:
        self.turns = list(turns)
        self.requests: list[dict] = []
        self.answered: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *words) -> None:
                pass

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.handle(self, body)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> ChatServer:
        self._thread.start()
        return self

    def __exit__(self, *error) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def handle(self, handler: BaseHTTPRequestHandler, body: dict) -> None:
        with self._lock:
            self.requests.append(body)
        if handler.headers["Authorization"] != f"Bearer {KEY}":
            return send(handler, 401, error("the key is not known", "invalid_api_key"))
        if body["model"] != MODEL:
            return send(handler, 404, error(f"no model {body['model']}", "model_not_found"))
        with self._lock:
            turn = self.turns.pop(0) if self.turns else Turn(status=400, message="the script is over")
        time.sleep(turn.delay_s)
        if turn.drops:
            handler.close_connection = True
            return handler.connection.close()
        if turn.status != 200:
            return send(handler, turn.status, error(turn.message, None))
        self.answered.append(body["messages"][-1]["content"])
        if turn.body is not None:
            return send_text(handler, 200, turn.body)
        message = {"role": "assistant", "content": turn.text}
        choice = {"index": 0, "message": message, "finish_reason": turn.finish_reason}
        usage = {"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200}
        answer = {"id": "a", "object": "chat.completion", "created": 1, "model": MODEL}
        return send(handler, 200, {**answer, "choices": [choice], "usage": usage})


def error(message: str, code: str | None) -> dict:
    return {"error": {"message": message, "type": "error", "param": None, "code": code}}


def send(handler: BaseHTTPRequestHandler, status: int, content: dict) -> None:
    send_text(handler, status, json.dumps(content))


def send_text(handler: BaseHTTPRequestHandler, status: int, text: str) -> None:
    data = text.encode()
    try:
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(data)))
        handler.send_header("retry-after-ms", "1")
        handler.end_headers()
        handler.wfile.write(data)
    except (BrokenPipeError, ConnectionResetError):
        handler.close_connection = True  # the client has given up
