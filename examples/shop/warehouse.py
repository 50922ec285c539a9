"""The stock, asked from another service over HTTP: once with a synchronous client, once with an async one.

The other service is a thread of this process that answers on the loopback address after DELAY seconds.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

DELAY = 0.04


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        time.sleep(DELAY)
        body = json.dumps({"path": self.path, "stock": 12}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the demo's own output is what matters."""


class Warehouse:
    """The tiny service and both of its clients."""

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, name="warehouse", daemon=True).start()
        host, port = self._server.server_address[:2]
        base_url = f"http://{host!s}:{port}"
        self._client = httpx.Client(base_url=base_url, timeout=5)
        self._async_client = httpx.AsyncClient(base_url=base_url, timeout=5)

    def stock(self, item_id: int) -> int:
        response = self._client.get(f"/stock/{item_id}")
        return int(response.json()["stock"])

    async def stock_async(self, item_id: int) -> int:
        response = await self._async_client.get(f"/stock/{item_id}")
        return int(response.json()["stock"])

    async def close(self) -> None:
        self._client.close()
        await self._async_client.aclose()
        await asyncio.to_thread(self._server.shutdown)
        self._server.server_close()
