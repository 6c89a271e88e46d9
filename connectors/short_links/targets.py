"""Where a short link may lead: to the clinic's own hosts, and those that its policy names. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

# The fields of a ClinicPolicy whose hosts are the clinic's own.
OWN_URLS = ("website", "portal_url", "booking_url", "privacy_url")
# Browsers take no more; ours are below 200.
MAX_TARGET_CHARACTERS = 2_000
HOSTS_CACHED = 4_096


def hosts_of(policy: Mapping[str, Any]) -> frozenset[str]:
    """A clinic's hosts, in small letters."""
    return _hosts(tuple(policy.get(name) or "" for name in OWN_URLS), tuple(policy.get("link_hosts") or ()))


@lru_cache(maxsize=HOSTS_CACHED)
def _hosts(urls: tuple[str, ...], named: tuple[str, ...]) -> frozenset[str]:
    own = (host_of(url) for url in urls)
    return frozenset(host for host in (*own, *(name.strip().lower() for name in named)) if host)


@lru_cache(maxsize=HOSTS_CACHED)
def host_of(url: str) -> str:
    """The host that browsers would go to, in small letters; empty: none, or one that readers and browsers may see differently."""
    if (
        len(url) > MAX_TARGET_CHARACTERS
        or not url.isascii()
        or not url.isprintable()
        or any(c in url for c in '\\ "<>')
    ):
        return ""  # browsers take \\ for /, and drop line breaks and tabs
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return ""
    del port  # read so that one that is none is refused
    if parts.scheme not in ("https", "http") or "@" in parts.netloc or host.startswith(".") or host.endswith("."):
        return ""
    return host.lower()


def may_lead_to(url: str, hosts: Iterable[str]) -> bool:
    """Whether the URL's host is one of these, or a subdomain of one."""
    host = host_of(url)
    return bool(host) and any(host == one or host.endswith("." + one) for one in hosts)
