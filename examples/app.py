"""A FastAPI shop with the classic blocking calls of real services, and one route that does it right.

Run it:  loopwatch run uvicorn examples.app:app
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI, Request, Response

from examples.shop import catalog, model, orders, search
from examples.shop.warehouse import Warehouse


@dataclass
class Shop:
    catalog: catalog.Catalog
    warehouse: Warehouse
    model_file: Path


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Make the database and the model; blocking here delays the start and nobody's request."""
    with tempfile.TemporaryDirectory(prefix="loopwatch-demo-") as folder:
        database, model_file = Path(folder, "shop.db"), Path(folder, "price.model")
        catalog.create(database)
        model.create(model_file)
        shop = Shop(catalog.Catalog(database), Warehouse(), model_file)
        app.state.shop = shop
        yield
        shop.catalog.close()
        await shop.warehouse.close()


app = FastAPI(title="shop", lifespan=lifespan)


def shop_of(request: Request) -> Shop:
    shop: Shop = request.app.state.shop
    return shop


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/items/{item_id}")
async def item(item_id: int, request: Request) -> dict[str, int]:
    """Good: waits for the other service without holding up anybody."""
    return {"stock": await shop_of(request).warehouse.stock_async(item_id)}


@app.get("/items/{item_id}/stock")
async def stock(item_id: int, request: Request) -> dict[str, int]:
    """Blocks in a synchronous HTTP client."""
    return {"stock": shop_of(request).warehouse.stock(item_id)}


@app.get("/items/{item_id}/sales")
async def sales(item_id: int, request: Request) -> dict[str, int]:
    """Blocks in a synchronous database query."""
    return shop_of(request).catalog.sales_by_country(item_id)


@app.get("/predict/{item_id}")
async def predict(item_id: int, request: Request) -> dict[str, float]:
    """Loads its model on every request."""
    price_model = model.load(shop_of(request).model_file)
    return {"price": price_model.predict([item_id / 500] * 8)}


@app.get("/features/{item_id}")
async def features(item_id: int) -> dict[str, list[float]]:
    """Computes in pure Python on the loop."""
    return {"features": model.build_features(item_id)}


@app.get("/search")
async def find(query: str) -> dict[str, bool]:
    """Runs a regular expression that backtracks without end, in one C call."""
    return {"clean": search.is_clean(query)}


@app.post("/orders/{number}/payment")
async def payment(number: int) -> dict[str, str]:
    """Sleeps between two tries."""
    return {"state": orders.pay(number)}


@app.get("/orders/export")
async def export() -> Response:
    """Serializes everything at once."""
    return Response(orders.export(), media_type="application/json")
