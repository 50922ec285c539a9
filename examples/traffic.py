"""Drive the demo app: a few clients, a bounded number of requests, the loopback address only."""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import time
from collections import defaultdict

import httpx

CLIENTS = 8
# (method, route, path, weight): mostly harmless requests, as in life. They are the ones that wait.
ROUTES = [
    ("GET", "/health", "/health", 60),
    ("GET", "/items/{item_id}", "/items/{n}", 60),
    ("GET", "/items/{item_id}/stock", "/items/{n}/stock", 4),
    ("GET", "/items/{item_id}/sales", "/items/{n}/sales", 5),
    ("GET", "/predict/{item_id}", "/predict/{n}", 4),
    ("GET", "/features/{item_id}", "/features/{n}", 3),
    ("GET", "/search", "/search?query=red+shoes+in+size+fortyseven!", 3),
    ("POST", "/orders/{number}/payment", "/orders/{n}/payment", 4),
    ("GET", "/orders/export", "/orders/export", 2),
]


async def wait_until_up(client: httpx.AsyncClient, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            await client.get("/health")
            return
        except httpx.TransportError:
            if time.monotonic() > deadline:
                raise SystemExit(f"traffic: no answer from {client.base_url} within {seconds:.0f} s") from None
            await asyncio.sleep(0.1)


async def drive(client: httpx.AsyncClient, seconds: float, requests: int) -> dict[str, list[float]]:
    """The latencies in milliseconds by route, after that many seconds or requests."""
    chance = random.Random(3)
    weights = [route[3] for route in ROUTES]
    latencies: dict[str, list[float]] = defaultdict(list)
    deadline = time.monotonic() + seconds
    first = list(ROUTES)  # every route at least once
    left = requests

    async def one_client() -> None:
        nonlocal left
        while left > 0 and time.monotonic() < deadline:
            left -= 1
            method, route, path, _ = first.pop() if first else chance.choices(ROUTES, weights)[0]
            begin = time.perf_counter()
            response = await client.request(method, path.format(n=chance.randrange(500)))
            response.raise_for_status()
            latencies[f"{method} {route}"].append((time.perf_counter() - begin) * 1e3)
            await asyncio.sleep(chance.uniform(0.05, 0.2))

    await asyncio.gather(*(one_client() for _ in range(CLIENTS)))
    return latencies


async def run(port: int, seconds: float, requests: int) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        await wait_until_up(client, 30)
        print(f"· traffic: {CLIENTS} clients for {seconds:g} s, at most {requests} requests", flush=True)
        latencies = await drive(client, seconds, requests)
    count = sum(map(len, latencies.values()))
    health = latencies.get("GET /health", [0.0])
    print(
        f"· {count} answers; GET /health does nothing and took"
        f" {statistics.median(health):.0f} ms in the middle, {max(health):.0f} ms at worst"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--requests", type=int, default=2000)
    arguments = parser.parse_args()
    asyncio.run(run(arguments.port, arguments.seconds, arguments.requests))


if __name__ == "__main__":
    main()
