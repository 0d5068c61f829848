"""The API server's answers: the routes, the errors and their words, as vLLM 0.32 has them."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from . import __version__
from .answers import answer, count
from .engine import Engine, log
from .modes import Modes

GUARDED = ("/v1", "/v2")  # where the key is asked for
ENGINE_DEAD = "EngineCore encountered an issue. See stack trace (above) for the root cause."
REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 500: "Internal Server Error"}
REASONS[503] = "Service Unavailable"

Reply = tuple[int, Any]


def error(status: int, kind: str, message: str, param: str | None = None) -> Reply:
    """An error's status and body."""
    return status, {"error": {"message": message, "type": kind, "param": param, "code": status}}


def refused(message: str, param: str | None = None, value: object = None) -> Reply:
    """A request that can never be answered; what is wrong in it stands behind the message."""
    behind = f" (parameter={param}, value={value})" if param else ""
    return error(400, "BadRequestError", message + behind, param)


class Server:
    """The API server: its engine, what it may still answer, and when it ends."""

    def __init__(self, given: argparse.Namespace, folder: Path, modes: Modes, engine: Engine) -> None:
        config = json.loads((folder / "config.json").read_bytes())
        self.names = given.served_model_name or [given.model]
        self.root = given.model
        self.context = given.max_model_len or modes.context or config["max_position_embeddings"]
        self.has_template = bool(given.chat_template) or _has_template(folder)
        self.quiet = given.disable_uvicorn_access_log
        self.key = os.environ.get("VLLM_API_KEY", "")
        self.modes, self.engine = modes, engine
        self.what, _, number = modes.completions.partition(":")
        self.left = int(number or 0)  # answers until it happens
        self.dead, self.ending = asyncio.Event(), asyncio.Event()

    async def run(self, bound: socket.socket) -> None:
        """Serve until a signal, or until the engine has died."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self.engine.pipe, self._engine_died)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._told_to_stop)
        await asyncio.start_server(self._connection, sock=bound, backlog=2048)
        sys.stderr.write(f"INFO:     Started server process [{os.getpid()}]\nINFO:     Application startup complete.\n")
        sys.stderr.flush()
        await self.ending.wait()
        loop.remove_reader(self.engine.pipe)
        if not self.dead.is_set():
            os.kill(self.engine.pid, signal.SIGTERM)
            self.engine.ended()

    def _told_to_stop(self) -> None:
        if self.modes.stop != "ignored":
            log("APIServer", "[shutdown] API server: shutdown triggered", place="launcher.py:276")
            self.ending.set()

    def _engine_died(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self.engine.pipe)
        self.engine.ended()
        words = "[shutdown] MPClient: engine core exited unexpectedly; starting cleanup"
        log("APIServer", words, level="WARNING", place="core_client.py:817")
        self.dead.set()
        if self.what != "dead-engine-after":
            loop.call_later(0.1, self.ending.set)  # the real one looks every five seconds, and after each failure

    # --- a connection

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                line, *rest = head.decode("latin-1").split("\r\n")
                method, path, _ = line.split(" ", 2)
                fields = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in rest)}
                body = await reader.readexactly(int(fields.get("content-length", 0)))
                status, content = await self._reply(method, path.partition("?")[0], fields, body)
                data = b"" if content is None else json.dumps(content, ensure_ascii=False).encode()
                about = f"HTTP/1.1 {status} {REASONS[status]}\r\ncontent-length: {len(data)}\r\nserver: uvicorn\r\n"
                writer.write(f"{about}content-type: application/json\r\n\r\n".encode() + data)
                if not self.quiet:
                    host, port = writer.get_extra_info("peername")[:2]
                    sys.stdout.write(
                        f'INFO:     {host}:{port} - "{method} {path} HTTP/1.1" {status} {REASONS[status]}\n'
                    )
                    sys.stdout.flush()
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has closed it
        finally:
            writer.close()

    async def _reply(self, method: str, path: str, fields: dict[str, str], body: bytes) -> Reply:
        scheme, _, key = fields.get("authorization", "").partition(" ")
        if self.key and path.startswith(GUARDED) and (scheme.lower(), key) != ("bearer", self.key):
            return 401, {"error": "Unauthorized"}
        match method, path:
            case "GET", "/health":
                return 503 if self.dead.is_set() and self.what != "dead-engine-after" else 200, None
            case "GET", "/version":
                return 200, {"version": __version__}
            case "GET", "/v1/models":
                return 200, {"object": "list", "data": [self._card(name) for name in self.names]}
            case "POST", "/v1/completions" | "/v1/chat/completions":
                try:
                    asked = json.loads(body)
                except ValueError as problem:
                    return error(400, "Bad Request", f"1 validation error:\n  {{'type': 'json_invalid', {problem}}}")
                return await self._complete(asked, chat=path.endswith("/chat/completions"))
        return error(404, "Not Found", "Not Found")

    def _card(self, name: str) -> dict[str, Any]:
        card = {"id": name, "object": "model", "created": int(time.time()), "owned_by": "vllm", "root": self.root}
        return card | {"parent": None, "max_model_len": self.context, "permission": []}

    # --- a completion

    async def _complete(self, asked: dict[str, Any], *, chat: bool) -> Reply:
        name = asked.get("model") or self.names[0]
        if name not in self.names:
            message = f"The model `{name}` does not exist. Valid aliases: {', '.join(self.names)}."
            return error(404, "NotFoundError", message, "model")
        if chat and not self.has_template:
            return refused(
                "As of transformers v4.44, default chat template is no longer allowed, so you must provide a chat "
                "template if the tokenizer does not define one."
            )
        prompts = [_rendered(asked.get("messages") or [])] if chat else asked.get("prompt") or []
        prompts = [prompts] if isinstance(prompts, str) else prompts
        field = "max_completion_tokens" if chat and asked.get("max_completion_tokens") is not None else "max_tokens"
        limit = asked.get(field) or (None if chat or field in asked else 16)
        if problem := self._out_of_bounds(prompts, asked, field):
            return problem
        if failed := await self._trouble():
            return failed
        if self.modes.schema == "ignored":
            asked.pop("response_format", None)
        choices: list[dict[str, Any]] = []
        written, read = 0, sum(map(count, prompts))
        for prompt in prompts:
            room = min(limit or self.context, self.context - count(prompt))
            for index in range(asked.get("n") or 1):
                said = answer(prompt, name, asked, index, room)
                text = {"message": {"role": "assistant", "content": said.text.strip()}} if chat else {"text": said.text}
                ended = {"finish_reason": said.finish_reason, "stop_reason": said.stop_reason}
                choices.append({"index": len(choices), **text, "logprobs": None, **ended})
                written += said.tokens
        usage = {"prompt_tokens": read, "total_tokens": read + written, "completion_tokens": written}
        kind = ("chatcmpl", "chat.completion") if chat else ("cmpl", "text_completion")
        about = {"id": f"{kind[0]}-{os.urandom(8).hex()}", "object": kind[1], "created": int(time.time())}
        return 200, {**about, "model": name, "choices": choices, "usage": usage}

    def _out_of_bounds(self, prompts: list[str], asked: dict[str, Any], field: str) -> Reply | None:
        """What the real server says to numbers that do not fit, in the order in which it looks."""
        limit, most = asked.get(field), self.context
        if not prompts or not all(prompts):
            return refused("The decoder prompt cannot be empty")
        if limit is not None and limit > most:
            message = (
                f"{field}={limit} cannot be greater than max_model_len={most}. Please request fewer output tokens."
            )
            return refused(message, field, limit)
        if any(count(prompt) > most for prompt in prompts):
            return refused(
                f"This model's maximum context length is {most} tokens. However, your prompt contains at least "
                f"{most + 1} input tokens, which exceeds this limit even without any output tokens. Please reduce the "
                "length of the input prompt.",
                "input_tokens",
                most + 1,
            )
        left = min(most - max(map(count, prompts)), most if limit is None else limit)
        if left < 1:
            return refused(f"max_tokens must be at least 1, got {left}.", "max_tokens", left)
        if (asked.get("n") or 1) > 1 and asked.get("temperature") == 0:
            return refused(f"n must be 1 when using greedy sampling, got {asked['n']}.")
        return None

    async def _trouble(self) -> Reply | None:
        """The time an answer takes, and whatever ``stub.json`` says goes wrong meanwhile."""
        if self.modes.delay:
            await asyncio.sleep(self.modes.delay)
        if self.what == "fail":
            return error(500, "InternalServerError", "Internal server error")
        self.left -= 1
        if self.what and self.left < 0 and not self.dead.is_set():
            if self.what != "hang-after":
                os.kill(self.engine.pid, signal.SIGKILL)
            await self.dead.wait()
        return error(500, "InternalServerError", ENGINE_DEAD) if self.dead.is_set() else None


def _has_template(folder: Path) -> bool:
    tokenizer = folder / "tokenizer_config.json"
    return (folder / "chat_template.jinja").is_file() or (
        tokenizer.is_file() and "chat_template" in json.loads(tokenizer.read_bytes())
    )


def _rendered(messages: list[dict[str, Any]]) -> str:
    turns = [f"<|{message['role']}|> {message['content']} <|end|>" for message in messages]
    return " ".join([*turns, "<|assistant|>"]) if turns else ""
