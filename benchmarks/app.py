"""The smallest FastAPI app: what loopwatch costs shows most where a request costs least."""

from __future__ import annotations

import os

from fastapi import FastAPI

app = FastAPI()


@app.get("/")
async def root() -> dict[str, bool]:
    return {"ok": True}


@app.get("/pid")
async def pid() -> int:
    return os.getpid()
