"""Figures of this process for metrics systems: `prometheus.py` and `otel.py`, each for who has its library.

Both read `figures.py`. No file, line or endpoint is a label: they would be too many.
"""
