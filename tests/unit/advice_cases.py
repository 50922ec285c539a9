"""For each rule of advice.toml: situations that it is for, and ones like them that it is not for."""

from __future__ import annotations

from typing import NamedTuple

# What the lines below stand under. It is parsed, never run.
HEADER = """\
import asyncio, concurrent.futures, gc, glob, hashlib, json, logging, os, pickle, queue, re, shutil, socket, sqlite3
import subprocess, sys, threading, time, urllib.request
import argon2, bcrypt, boto3, httpx, jinja2, joblib, numpy as np, psycopg, psycopg2, pymongo, pymysql, redis, requests
import onnxruntime, orjson, pandas as pd, PIL.Image, pydantic, redis.asyncio, sqlalchemy, torch, transformers
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from reportlab.pdfgen.canvas import Canvas
from sqlalchemy.orm import Session
from work import crunch, model, Item

WORD = re.compile(r"^(\\w+\\s?)*$")
LOCK, EVENT, JOBS, POOL = None, None, None, None
LOCK = threading.Lock()
EVENT = threading.Event()
JOBS = queue.Queue()
POOL = ThreadPoolExecutor()
CONNECTION = sqlite3.connect("a.db")
CURSOR = psycopg2.connect("").cursor()
CACHE = redis.Redis()
ACACHE = redis.asyncio.Redis()
S3 = boto3.client("s3")
MONGO = pymongo.MongoClient()
PAGE = jinja2.Template("")
HASHER = argon2.PasswordHasher()
MYSQL = pymysql.connect()
"""


class Case(NamedTuple):
    """`line` of an `async def`, in which «» stand around what runs; `below` are the library functions that it calls."""

    state: str
    line: str
    below: tuple[str, ...] = ()
    shape: str = "single"
    file: str = "main.py"


SEND = ("requests/sessions.py:Session.send", "urllib3/connectionpool.py:urlopen", "lib:socket.py:SocketIO.readinto")
DNS = ("lib:socket.py:getaddrinfo",)
IMPORT = ("lib:<frozen importlib._bootstrap>:_find_and_load",)
SQLALCHEMY = ("sqlalchemy/orm/session.py:Session.execute", "psycopg/cursor.py:Cursor.execute")
LOG = ("lib:logging/__init__.py:Logger.info", "lib:logging/__init__.py:StreamHandler.emit")
JSON = ("lib:json/__init__.py:dumps", "lib:json/encoder.py:JSONEncoder.encode")

CASES: dict[str, tuple[list[Case], list[Case]]] = {
    "throttled": ([Case("throttled", "«crunch(1)»")], [Case("starved", "«crunch(1)»")]),
    "starved": (
        [Case("starved", "«time.sleep(1)»")],
        [Case("throttled", "«crunch(1)»"), Case("python", "«crunch(1)»")],
    ),
    "gc-collect": ([Case("gc", "«gc.collect()»")], [Case("gc", "«Item()»"), Case("blocked", "«gc.collect()»")]),
    "gc": ([Case("gc", "«json.dumps(x)»", JSON)], [Case("gc", "«gc.collect()»"), Case("python", "«Item()»")]),
    "gil": ([Case("gil", "«time.sleep(1)»")], [Case("held", "«WORD.match(x)»")]),
    "import": (
        [Case("python", "«model.load()»", IMPORT), Case("blocked", "«model.load()»", IMPORT)],
        [Case("python", "«model.load()»"), Case("gil", "«model.load()»", IMPORT)],
    ),
    "model-load": (
        [
            Case("held", "x = «pickle.load(f)»"),
            Case("python", "x = «joblib.load(f)»", ("joblib/numpy_pickle.py:load",)),
            Case("blocked", "x = «torch.load(f)»"),
            Case("released", "x = «onnxruntime.InferenceSession(f)»"),
            Case("python", "x = «transformers.AutoModel.from_pretrained('a')»"),
            Case("held", "x = «model.get()»", ("transformers/modeling.py:PreTrainedModel.from_pretrained",)),
        ],
        [Case("held", "x = «pickle.dumps(f)»"), Case("gc", "x = «pickle.load(f)»"), Case("held", "«json.load(f)»")],
    ),
    "sleep": (
        [Case("blocked", "«time.sleep(1)»")],
        [Case("blocked", "«model.sleep(1)»"), Case("python", "«time.sleep(1)»")],
    ),
    "logging": (
        [Case("blocked", "«logging.info('a')»", LOG), Case("blocked", "«logging.info('a')»")],
        [Case("blocked", "«print('a')»"), Case("python", "«logging.info('a')»", LOG)],
    ),
    "aws": (
        [
            Case("blocked", "x = «S3.get_object(Key='a')»"),
            Case("blocked", "«model.get()»", ("botocore/client.py:ClientCreator._api_call", *SEND)),
        ],
        [
            Case("blocked", "«model.get()»", ("aiobotocore/client.py:get", "botocore/x.py:y")),
            Case("python", "x = «S3.get_object(Key='a')»"),
        ],
    ),
    "sqlalchemy": (
        [Case("blocked", "«model.get()»", SQLALCHEMY), Case("blocked", "«Session().execute(x)»")],
        [Case("python", "«model.get()»", SQLALCHEMY), Case("blocked", "«CURSOR.execute(x)»")],
    ),
    "django-orm": (
        [
            Case(
                "blocked",
                "«model.get()»",
                ("django/db/models/query.py:QuerySet.get", "psycopg/cursor.py:Cursor.execute"),
            )
        ],
        [
            Case("blocked", "«model.get()»", ("django/http/request.py:x",)),
            Case("python", "«x()»", ("django/db/x.py:y",)),
        ],
    ),
    "postgres": (
        [
            Case("blocked", "«CURSOR.execute(x)»"),
            Case("blocked", "«model.get()»", ("psycopg/connection.py:Connection.wait",)),
        ],
        [Case("blocked", "«psycopg.AsyncConnection.connect('')»"), Case("released", "«CURSOR.execute(x)»")],
    ),
    "mysql": (
        [Case("blocked", "«MYSQL.query(x)»"), Case("blocked", "«x()»", ("mysql/connector/cursor.py:execute",))],
        [Case("blocked", "«x()»", ("mysql/connector/aio/cursor.py:execute",)), Case("python", "«MYSQL.query(x)»")],
    ),
    "mongo": (
        [
            Case("blocked", "«MONGO.db.items.find_one()»"),
            Case("blocked", "«x()»", ("pymongo/synchronous/collection.py:y",)),
        ],
        [
            Case("blocked", "«x()»", ("pymongo/asynchronous/collection.py:y",)),
            Case("gc", "«MONGO.db.items.find_one()»"),
        ],
    ),
    "redis": (
        [
            Case("blocked", "«CACHE.get('a')»"),
            Case("blocked", "«x()»", ("redis/client.py:Redis.get", "lib:socket.py:x")),
        ],
        [Case("blocked", "«ACACHE.get('a')»"), Case("blocked", "«x()»", ("redis/asyncio/client.py:Redis.get",))],
    ),
    "sqlite": (
        [Case("blocked", "«CONNECTION.execute(x)»"), Case("released", "x = «CONNECTION.execute(x).fetchall()»")],
        [Case("held", "«CONNECTION.execute(x)»"), Case("blocked", "«MYSQL.query(x)»")],
    ),
    "http-client": (
        [
            Case("blocked", "x = «requests.get(u)»", SEND),
            Case("blocked", "x = «urllib.request.urlopen(u)»"),
            Case("blocked", "x = «model.get()»", ("lib:http/client.py:HTTPConnection.getresponse",)),
            Case("blocked", "x = «httpx.get(u)»"),
        ],
        [Case("python", "x = «requests.get(u)»", SEND), Case("blocked", "x = «httpx.AsyncClient()»")],
    ),
    "dns": (
        [Case("blocked", "x = «socket.getaddrinfo(h, 443)»", DNS), Case("blocked", "«x()»", DNS)],
        [Case("blocked", "x = «requests.get(u)»", (*SEND, *DNS)), Case("blocked", "«socket.create_server(h)»")],
    ),
    "socket": (
        [
            Case("blocked", "x = «socket.create_connection(h)»"),
            Case("blocked", "«x()»", ("lib:ssl.py:SSLSocket.read",)),
        ],
        [Case("blocked", "«x()»", DNS), Case("python", "«x()»", ("lib:ssl.py:SSLSocket.read",))],
    ),
    "subprocess": (
        [Case("blocked", "«subprocess.run(['a'])»", ("lib:subprocess.py:run",)), Case("blocked", "«os.system('a')»")],
        [Case("blocked", "«asyncio.create_subprocess_exec('a')»"), Case("gil", "«subprocess.run(['a'])»")],
    ),
    "queue": (
        [
            Case("blocked", "x = «JOBS.get()»"),
            Case("blocked", "«x()»", ("lib:queue.py:Queue.get", "lib:threading.py:x")),
        ],
        [Case("blocked", "x = «asyncio.Queue().get()»"), Case("blocked", "«LOCK.acquire()»")],
    ),
    "future": (
        [
            Case("blocked", "x = «POOL.submit(crunch).result()»"),
            Case("blocked", "«x()»", ("lib:concurrent/futures/_base.py:Future.result",)),
        ],
        [Case("blocked", "x = «asyncio.Future().result()»"), Case("gil", "x = «POOL.submit(crunch).result()»")],
    ),
    "lock": (
        [Case("blocked", "«LOCK.acquire()»"), Case("blocked", "with «LOCK»: pass"), Case("blocked", "«EVENT.wait()»")],
        [
            Case("blocked", "«asyncio.Lock().acquire()»"),
            Case("gil", "«LOCK.acquire()»"),
            Case("blocked", "«JOBS.get()»"),
        ],
    ),
    "print": (
        [Case("blocked", "«print(x)»"), Case("blocked", "«sys.stdout.write(x)»")],
        [Case("blocked", "«model.print(x)»"), Case("python", "«print(x)»")],
    ),
    "file-tree": (
        [
            Case("blocked", "for x in «os.walk('.')»: pass"),
            Case("released", "«shutil.rmtree('a')»", ("lib:shutil.py:rmtree",)),
        ],
        [Case("python", "for x in «os.walk('.')»: pass"), Case("blocked", "«Path('a').read_text()»")],
    ),
    "file": (
        [
            Case("blocked", "x = «open('a')»"),
            Case("released", "x = «open('a').read()»"),
            Case("blocked", "«Path('a').write_bytes(x)»"),
            Case("blocked", "«x()»", ("lib:pathlib.py:Path.read_text",)),
        ],
        [Case("held", "x = «open('a').read()»"), Case("blocked", "x = «model.open('a')»")],
    ),
    "password-hash": (
        [
            Case("released", "«bcrypt.hashpw(x, y)»"),
            Case("released", "«HASHER.hash(x)»"),
            Case("released", "«hashlib.scrypt(x)»"),
        ],
        [Case("released", "«hashlib.sha256(x)»"), Case("blocked", "«bcrypt.hashpw(x, y)»")],
    ),
    "regex": (
        [Case("held", "«WORD.match(x)»"), Case("held", "«re.sub(a, b, c)»", ("lib:re/__init__.py:sub",))],
        [Case("released", "«WORD.match(x)»"), Case("held", "«model.match(x)»"), Case("held", "«re.compile(x)»")],
    ),
    "json": (
        [
            Case("held", "x = «json.dumps(rows)»", JSON),
            Case("held", "x = «orjson.dumps(rows)»"),
            Case("python", "«x()»", JSON),
        ],
        [Case("held", "x = «pickle.dumps(rows)»"), Case("gc", "x = «json.dumps(rows)»", JSON)],
    ),
    "pydantic": (
        [
            Case("held", "x = «pydantic.TypeAdapter(Item).validate_python(rows)»"),
            Case("held", "«x()»", ("pydantic/main.py:BaseModel.model_validate",)),
        ],
        [Case("released", "«x()»", ("pydantic/main.py:BaseModel.model_validate",)), Case("held", "«Item.parse(x)»")],
    ),
    "template": (
        [Case("python", "x = «PAGE.render(rows=rows)»"), Case("python", "«x»", file="page.html")],
        [Case("blocked", "x = «PAGE.render(rows=rows)»"), Case("python", "«x»", file="page.py")],
    ),
    "image": (
        [Case("released", "«PIL.Image.open(x).resize(y)»"), Case("held", "«x()»", ("PIL/Image.py:Image.save",))],
        [Case("released", "«np.resize(x)»"), Case("blocked", "«x()»", ("PIL/Image.py:Image.save",))],
    ),
    "pdf": (
        [Case("python", "«Canvas('a').save()»"), Case("python", "«x()»", ("pypdf/_reader.py:PdfReader.__init__",))],
        [Case("python", "«crunch(1)»"), Case("blocked", "«Canvas('a').save()»")],
    ),
    "compute": (
        [
            Case("released", "x = «np.linalg.svd(x)»"),
            Case("held", "x = «pd.concat(x)»"),
            Case("released", "x = «model.predict(x)»", ("sklearn/tree/_classes.py:predict",)),
        ],
        [
            Case("released", "x = «np.load(x)»"),
            Case("blocked", "x = «pd.concat(x)»"),
            Case("released", "«model.predict(x)»"),
        ],
    ),
    "pile-up": (
        [Case("python", "«crunch(1)»", shape="pile-up"), Case("blocked", "«model.get()»", shape="pile-up")],
        [Case("python", "«crunch(1)»"), Case("blocked", "«time.sleep(1)»", shape="pile-up")],
    ),
    "blocking": (
        [Case("blocked", "«model.get()»")],
        [Case("blocked", "«time.sleep(1)»"), Case("released", "«model.get()»")],
    ),
    "released": (
        [Case("released", "«model.get()»")],
        [Case("released", "«np.dot(a, b)»"), Case("held", "«model.get()»")],
    ),
    "held": ([Case("held", "«model.get()»")], [Case("held", "«WORD.match(x)»"), Case("released", "«model.get()»")]),
    "python": ([Case("python", "«crunch(1)»")], [Case("python", "«crunch(1)»", JSON), Case("held", "«crunch(1)»")]),
}
