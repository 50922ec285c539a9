"""Which addresses are this machine's own: what is asked for under one of them has come from here."""

from __future__ import annotations

import ipaddress


def is_local(host: str) -> bool:
    """Whether it is one. No name is looked up: a stranger's may lead here."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
