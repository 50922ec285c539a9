"""The catalogue in SQLite, asked through the synchronous driver of the standard library."""

from __future__ import annotations

import sqlite3
from pathlib import Path

ITEMS = 500
SALES = 250_000

_SCHEMA = """
CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, price REAL);
CREATE TABLE sale (item_id INTEGER, quantity INTEGER, country TEXT);
"""
_NUMBERS = "WITH RECURSIVE number(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM number WHERE i + 1 < ?) "


def create(path: Path) -> None:
    """Fill a database that is just large enough for one query without an index to take a while."""
    with sqlite3.connect(path) as connection:
        connection.executescript(_SCHEMA)
        items = "INSERT INTO item SELECT i, 'item ' || i, i % 90 + 0.99 FROM number"
        connection.execute(_NUMBERS + items, (ITEMS,))
        country = f"substr('DEFRPLUS', i / {ITEMS} % 4 * 2 + 1, 2)"
        sales = f"INSERT INTO sale SELECT i * 7919 % {ITEMS}, i % 4 + 1, {country} FROM number"
        connection.execute(_NUMBERS + sales, (SALES,))
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
