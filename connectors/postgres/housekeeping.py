"""What grows without end is cut back here, in small steps; the relay's process calls it about twice a minute."""

from __future__ import annotations

import logging

import psycopg

log = logging.getLogger(__name__)

# Kafka keeps messages 14 days and a replay must find its ledger; providers' last receipts come within days.
DELIVERY_RETENTION_DAYS = 35
# How long an idempotency key is remembered; the pipeline recognises what is sent again under it for as long.
ASKED_RETENTION_DAYS = 35
# A receipt whose message is unknown that long belongs to another installation, or its ledger row was lost: to be looked at.
PARKED_SECONDS = 300
QUARANTINE_RETENTION_DAYS = 14
# Whoever was away for less learns from the item itself that it expired, or was taken; who was away for longer reads all anew.
EXPIRED_ITEM_HOURS = 24
# So long a link that is over still says so, instead of being unknown.
EXPIRED_LINK_DAYS = 30
# A year's period must be known for all of it.
SEGMENT_RETENTION_DAYS = 400
# A question is over when its appointment begins; its row is kept while the answer may be posted again.
QUESTION_DAYS = 7
# Of an answer whose question is gone, that its text was heard is kept: posted again so long, it is no answer to anything else.
ANSWER_RETENTION_DAYS = 400
# The sweep looks back 30 days at most (LUXE_INBOUND_SWEEP_DAYS).
TEXT_TAKEN_DAYS = 45
# A waitlist's slot that is over and begun: as long as what was sent about it. Its offers go with it.
WAITLIST_RETENTION_DAYS = 35
DELETE_ROWS = 5_000


def keep_house(connection: psycopg.Connection) -> None:
    """Quarantine receipts that nobody claimed, delete what is past its retention; at most DELETE_ROWS of each a call."""
    quarantined = connection.execute(
        "UPDATE parked_receipts SET quarantined_at = now() "
        "WHERE quarantined_at IS NULL AND received_at < now() - make_interval(secs => %s)",
        (PARKED_SECONDS,),
    ).rowcount
    if quarantined:
        log.warning("%d receipts quarantined: nobody knows their messages; see docs/runbooks/delivery.md", quarantined)
    connection.execute(
        """DELETE FROM parked_receipts WHERE id IN (
               SELECT id FROM parked_receipts WHERE received_at < now() - make_interval(days => %s) LIMIT %s)""",
        (QUARANTINE_RETENTION_DAYS, DELETE_ROWS),
    )
    connection.execute(
        """DELETE FROM deliveries WHERE delivery_id IN (
               SELECT delivery_id FROM deliveries WHERE created_at < now() - make_interval(days => %s) LIMIT %s)""",
        (DELIVERY_RETENTION_DAYS, DELETE_ROWS),
    )
    connection.execute(
        """DELETE FROM asked_notifications WHERE request_id IN (
               SELECT request_id FROM asked_notifications WHERE asked_at < now() - make_interval(days => %s) LIMIT %s)""",
        (ASKED_RETENTION_DAYS, DELETE_ROWS),
    )
    # An inbox that is changed at this moment is left for the next time: its owner does not wait for housekeeping.
    connection.execute(
        """WITH past AS (
               SELECT recipient, notification_id FROM inbox_items
               WHERE expires_at < now() - make_interval(hours => %s) ORDER BY recipient LIMIT %s
           ), held AS (
               SELECT recipient FROM inboxes WHERE recipient IN (SELECT recipient FROM past) FOR UPDATE SKIP LOCKED
           ), gone AS (
               DELETE FROM inbox_items i USING past, held
               WHERE (i.recipient, i.notification_id) = (past.recipient, past.notification_id)
                 AND held.recipient = i.recipient
               RETURNING i.recipient, i.version
           ), highest AS (
               SELECT recipient, max(version) AS version FROM gone GROUP BY recipient
           )
           UPDATE inboxes b SET forgotten = greatest(b.forgotten, highest.version)
           FROM highest WHERE b.recipient = highest.recipient""",
        (EXPIRED_ITEM_HOURS, DELETE_ROWS),
    )
    connection.execute(
        """DELETE FROM waitlist_slots WHERE (clinic_id, slot_id) IN (
               SELECT clinic_id, slot_id FROM waitlist_slots
               WHERE due_at IS NULL AND updated_at < now() - make_interval(days => %s)
                 AND (starts_at IS NULL OR starts_at < now()) LIMIT %s)""",
        (WAITLIST_RETENTION_DAYS, DELETE_ROWS),
    )
    connection.execute(
        """DELETE FROM short_links WHERE code IN (
               SELECT code FROM short_links WHERE expires_at < now() - make_interval(days => %s) LIMIT %s)""",
        (EXPIRED_LINK_DAYS, DELETE_ROWS),
    )
    connection.execute(
        """DELETE FROM segment_emitted WHERE event_id IN (
               SELECT event_id FROM segment_emitted WHERE emitted_at < now() - make_interval(days => %s) LIMIT %s)""",
        (SEGMENT_RETENTION_DAYS, DELETE_ROWS),
    )
    connection.execute("DELETE FROM segment_runs WHERE day < current_date - %s::int", (SEGMENT_RETENTION_DAYS,))
    connection.execute(
        """DELETE FROM text_questions WHERE delivery_id IN (
               SELECT delivery_id FROM text_questions WHERE starts_at < now() - make_interval(days => %s) LIMIT %s)""",
        (QUESTION_DAYS, DELETE_ROWS),
    )
    connection.execute(
        """UPDATE text_answers SET delivery_id = NULL, aggregate_id = NULL, aggregate_version = NULL
           WHERE message_id IN (
               SELECT message_id FROM text_answers a WHERE delivery_id IS NOT NULL
                  AND NOT EXISTS (SELECT FROM text_questions q WHERE q.delivery_id = a.delivery_id) LIMIT %s)""",
        (DELETE_ROWS,),
    )
    connection.execute(
        """DELETE FROM text_answers WHERE message_id IN (
               SELECT message_id FROM text_answers WHERE at < now() - make_interval(days => %s) LIMIT %s)""",
        (ANSWER_RETENTION_DAYS, DELETE_ROWS),
    )
    connection.execute(
        """DELETE FROM texts_taken WHERE message_id IN (
               SELECT message_id FROM texts_taken WHERE at < now() - make_interval(days => %s) LIMIT %s)""",
        (TEXT_TAKEN_DAYS, DELETE_ROWS),
    )
