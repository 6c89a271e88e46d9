"""Pooled asynchronous HTTP to a provider, and which of its failures leave it open whether the request arrived."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import aiohttp

from connectors.providers.outcome import OutcomeUnknown, Refused

# A kept connection that the other side closes just as we send on it is an unknown outcome: leave first. Load balancers
# close idle connections after 60 s or more.
KEEPALIVE_SECONDS = 15
DNS_CACHE_SECONDS = 300


def provider_session(*, connections: int, timeout_seconds: float) -> aiohttp.ClientSession:
    """A session with ``connections`` pooled connections; every call ends within ``timeout_seconds``. The caller closes it."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=connections, keepalive_timeout=KEEPALIVE_SECONDS, ttl_dns_cache=DNS_CACHE_SECONDS
        ),
        timeout=aiohttp.ClientTimeout(total=timeout_seconds),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


@contextlib.contextmanager
def judged() -> Iterator[None]:
    """Turn a failure of HTTP into Refused (the request was certainly not sent) or OutcomeUnknown (it may have arrived).

    The errors' own texts hold URLs and addresses, so none is carried on.
    """
    try:
        yield
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        raise Refused("transient", code=type(error).__name__) from None
    except (TimeoutError, aiohttp.ClientError, ConnectionError) as error:
        raise OutcomeUnknown(type(error).__name__) from None
