"""Who may ask: the Host and Origin of a request, against DNS rebinding and foreign web pages.

A page of any web site can make a browser send requests to a loopback port. It cannot choose the
Host and Origin headers, so a request is refused when its Host is not a name of this daemon, or
when it carries an Origin of another host. On the Unix socket any Host is accepted (no browser can
reach it by itself); an Origin still has to agree with the Host, for proxies in front of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, MutableMapping
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, Final

from domain.errors import Forbidden

_AUTHORITY: Final = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::\d{1,5})?")
_WILDCARDS: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104


def by_socket(scope: MutableMapping[str, Any]) -> bool:
    """Return whether the request came over the Unix socket.

    The peer alone does not tell: it is also unknown on TCP when the client has already gone.
    """
    server = scope.get("server")
    return scope.get("client") is None and server is not None and server[1] is None


class Guard:
    """Knows the names under which this daemon may be addressed."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = frozenset(name.strip("[]").lower() for name in names)
        self._any_address = not self._names.isdisjoint(_WILDCARDS)
        self._is_ours = lru_cache(maxsize=64)(self._judge)

    def check(self, scope: MutableMapping[str, Any]) -> None:
        """Refuse a request whose Host is not ours, or whose Origin is not its Host.

        Raises:
            Forbidden: the request came by a foreign name or from a foreign page.

        """
        self.check_headers(scope["headers"], local=by_socket(scope))

    def check_headers(self, headers: Iterable[tuple[bytes, bytes]], *, local: bool) -> None:
        """Do the same by the headers; ``local`` is whether they came over the Unix socket.

        Raises:
            Forbidden: the request came by a foreign name or from a foreign page.

        """
        hosts, origins = [], []
        for name, value in headers:
            if name == b"host":
                hosts.append(value)
            elif name == b"origin":
                origins.append(value)
        if not local and (len(hosts) != 1 or not self._is_ours(hosts[0])):
            raise Forbidden("The Host header does not name this daemon.")
        if origins and (len(origins) != 1 or len(hosts) != 1 or not same(origins[0], hosts[0])):
            raise Forbidden("The Origin header names another site.")

    def _judge(self, host: bytes) -> bool:
        match = _AUTHORITY.fullmatch(host.decode("latin-1").lower())
        if match is None:
            return False
        name = (match[1] or match[2]).rstrip(".")
        if name == "localhost" or name in self._names - _WILDCARDS:
            return True
        try:
            address = ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or self._any_address


def same(origin: bytes, host: bytes) -> bool:
    """Return whether an Origin is the site that the Host names (http or https)."""
    scheme, _, authority = origin.lower().partition(b"://")
    return scheme in (b"http", b"https") and authority == host.lower()
