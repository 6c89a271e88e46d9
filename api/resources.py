"""What handlers reach through the application: typed keys, and nothing else."""

from __future__ import annotations

from aiohttp import web

from api.counting import Counting
from api.identity import Identity, Verifier
from api.limits import Buckets
from api.live.feed import Feed
from api.live.hub import Hub
from api.names import Names
from connectors.answering.withdrawals import Withdrawals
from connectors.clickhouse.asking import Asking
from connectors.inbox_changes import InboxChanges
from connectors.postgres.in_force import InForce
from connectors.postgres.pool import Pool
from connectors.postgres.recipient_requests import RecipientRequests
from connectors.postgres.records import Records
from connectors.settings import Settings

SETTINGS = web.AppKey("settings", Settings)
POOL: web.AppKey[Pool] = web.AppKey("pool")
RECORDS = web.AppKey("records", Records)
RECIPIENT_REQUESTS = web.AppKey("recipient_requests", RecipientRequests)
IN_FORCE = web.AppKey("in_force", InForce)
VERIFIER = web.AppKey("verifier", Verifier)
# Keys the codes that verify addresses.
CODE_SECRET = web.AppKey("code_secret", str)
# What documents may name of the catalogue.
NAMES = web.AppKey("names", Names)
# What /openapi.json answers.
DESCRIPTION = web.AppKey("description", bytes)
# ClickHouse, for explanations.
ASKING = web.AppKey("asking", Asking)
# Openings and clicks.
COUNTING = web.AppKey("counting", Counting)
BUCKETS = web.AppKey("buckets", Buckets)
# Paths of routes that stream.
STREAMS: web.AppKey[frozenset[str]] = web.AppKey("streams")
# Open connections to inboxes, and what tells other processes' that one has changed.
HUB = web.AppKey("hub", Hub)
FEED = web.AppKey("feed", Feed)
INBOX_CHANGES = web.AppKey("inbox_changes", InboxChanges)

# Which versions of appointments were overtaken: what a message asked about may have changed since.
WITHDRAWALS = web.AppKey("withdrawals", Withdrawals)

# Of a request: who asks (set by the guard, absent on open routes), and what our log calls it.
IDENTITY = web.RequestKey("identity", Identity)
REQUEST_ID = web.RequestKey("request_id", str)


def identity_of(request: web.Request) -> Identity:
    """Who asks. Raises LookupError on an open route, where nobody is asked."""
    return request[IDENTITY]
