"""The catalogue in SQLite, asked through the synchronous driver of the standard library."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

ITEMS = 500
SALES = 150_000
COUNTRIES = ["DE", "FR", "PL", "US"]


def create(path: Path) -> None:
    """Fill a database that is just large enough for one query without an index to take a while."""
    chance = random.Random(7)
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, price REAL)")
        connection.execute("CREATE TABLE sale (item_id INTEGER, quantity INTEGER, country TEXT)")
        connection.executemany(
            "INSERT INTO item VALUES (?, ?, ?)",
            ((number, f"item {number}", round(chance.uniform(1, 90), 2)) for number in range(ITEMS)),
        )
        connection.executemany(
            "INSERT INTO sale VALUES (?, ?, ?)",
            ((chance.randrange(ITEMS), chance.randrange(1, 5), chance.choice(COUNTRIES)) for _ in range(SALES)),
        )
    connection.close()


class Catalog:
    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path)

    def close(self) -> None:
        self._connection.close()

    def sales_by_country(self, item_id: int) -> dict[str, int]:
        """Scans the whole table: nobody made an index on item_id."""
        cursor = self._connection.execute(
            "SELECT country, sum(quantity) FROM sale JOIN item ON item.id = sale.item_id"
            " WHERE item.name = ? GROUP BY country",
            (f"item {item_id}",),
        )
        return dict(cursor.fetchall())
