"""A price model: fitted once into a file, then, wrongly, loaded by every request."""

from __future__ import annotations

import math
import pickle
import random
from dataclasses import dataclass
from pathlib import Path

TREES = 60
NODES = 4_000


@dataclass
class Model:
    """A forest of made-up trees: (feature, bound, value) triples."""

    trees: list[list[tuple[int, float, float]]]

    def predict(self, features: list[float]) -> float:
        leaves = (tree[int(features[0] * len(tree)) % len(tree)] for tree in self.trees)
        return sum(value if features[feature] < bound else -value for feature, bound, value in leaves)


def create(path: Path) -> None:
    chance = random.Random(11)
    trees = [[(node % 8, chance.random(), chance.random()) for node in range(NODES)] for _ in range(TREES)]
    path.write_bytes(pickle.dumps(Model(trees)))


def load(path: Path) -> Model:
    with path.open("rb") as stream:
        model: Model = pickle.load(stream)
    return model


def build_features(item_id: int, window: int = 45_000) -> list[float]:
    """The feature computation that a notebook brought along: arithmetic in pure Python."""
    series = [math.sin(day * 0.01 * (item_id + 1)) for day in range(window)]
    features = []
    for lag in range(1, 9):
        total = 0.0
        for day in range(lag, window):
            total += abs(series[day] - series[day - lag])
        features.append(total / window)
    return features
