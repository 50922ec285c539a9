"""Programs whose route `/block/{name}` blocks for 100 ms on a line of its own, one for each framework. Where it has
hooks for that, `load` and `unload` block for 50 ms when it starts and when it stops."""

from __future__ import annotations

FASTAPI = """
import time
from contextlib import asynccontextmanager
from fastapi import FastAPI

def block():
    time.sleep(0.1)

def load():
    time.sleep(0.05)

def unload():
    time.sleep(0.05)

@asynccontextmanager
async def lifespan(app):
    load()
    try:
        yield
    finally:
        unload()

app = FastAPI(lifespan=lifespan)

@app.get("/block/{name}")
async def blocking(name: str):
    block()
    return "ok"

@app.get("/ready")
async def ready():
    return "ok"
"""

QUART = """
import time
from quart import Quart

def block():
    time.sleep(0.1)

app = Quart(__name__)

@app.get("/block/<name>")
async def blocking(name):
    block()
    return "ok"

@app.get("/ready")
async def ready():
    return "ok"
"""

AIOHTTP = """
import sys, time
from aiohttp import web

def block():
    time.sleep(0.1)

def load():
    time.sleep(0.05)

def unload():
    time.sleep(0.05)

async def starting(app):
    load()

async def stopping(app):
    unload()

async def blocking(request):
    block()
    return web.Response(text="ok")

async def ready(request):
    return web.Response(text="ok")

app = web.Application()
app.on_startup.append(starting)
app.on_shutdown.append(stopping)
app.on_cleanup.append(stopping)
app.router.add_get("/block/{name}", blocking)
app.router.add_get("/ready", ready)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
"""

SANIC = """
import sys, time
from sanic import Sanic, text

def block():
    time.sleep(0.1)

def load():
    time.sleep(0.05)

def unload():
    time.sleep(0.05)

app = Sanic("app")

@app.before_server_start
async def starting(app, loop):
    load()

@app.before_server_stop
@app.after_server_stop
async def stopping(app, loop):
    unload()

@app.get("/block/<name>")
async def blocking(request, name):
    block()
    return text("ok")

@app.get("/ready")
async def ready(request):
    return text("ok")

if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(sys.argv[1]), single_process=True, motd=False, access_log=False)
"""

LITESTAR = """
import time
from litestar import Litestar, get

def block():
    time.sleep(0.1)

@get("/block/{name:str}")
async def blocking(name: str) -> str:
    block()
    return "ok"

@get("/ready")
async def ready() -> str:
    return "ok"

app = Litestar([blocking, ready])
"""

SANIC_WORKERS = SANIC.replace("single_process=True", "workers=2")

PROGRAMS = {
    "fastapi": FASTAPI,
    "quart": QUART,
    "aiohttp": AIOHTTP,
    "sanic": SANIC,
    "sanic-workers": SANIC_WORKERS,
    "litestar": LITESTAR,
}
NAMES = {
    "fastapi": "GET /block/{name}",
    "quart": "GET /block/<name>",
    "aiohttp": "GET /block/{name}",
    "sanic": "GET /block/<name:str>",
    "sanic-workers": "GET /block/<name:str>",
    "litestar": "GET /block/{name}",
}
