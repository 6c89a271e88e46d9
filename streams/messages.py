"""A plan's first steps as channel messages: rendered at the channel's ceiling, sealed with the recipient's key, encoded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from connectors.sealing import DataKey, seal
from connectors.unsubscribing.links import Links
from connectors.unsubscribing.wishes import OPT_INS
from schemas.codec import Codec, Decoded
from schemas.events import EVENT_TYPES
from schemas.topics import CHANNELS, LANES, deliver_topic
from streams.catalog import Catalog
from streams.catalog_model import NotificationType
from streams.joins import Joined
from streams.render import asking, calendar, email, in_app, payment_receipt, push, sms
from streams.render.ceilings import TemplateError
from streams.render.engine import CompiledTemplate
from streams.render.shortening import Shortening
from streams.render.variables import Facts, image_url, unsubscribe_url
from streams.rules.person import Person
from streams.rules.schedule import Visit
from streams.rules.telephone import country_of, takes_pictures
from streams.rules.terms import Channel
from streams.tables import Clinic, Templates
from streams.waiting import at_ms, ms_of

CONTENT = "luxe.pipeline.MessageContent"
# Of fifty that an event may name. How many of them an email then carries is the sink's to bound (LUXE_SINKS_FORMS_…).
MAX_FORMS_NAMED = 20
MESSAGE = "luxe.pipeline.ChannelMessage"


class Told(NamedTuple):
    """What a message is about: the request, its opened event, to whom, in whose name, sealed with which key.

    ``not_after_ms``: channel → when it is quiet next. ``visit``: which appointment it is for, beside its own aggregate.
    """

    request: Mapping[str, Any]
    event: Decoded
    person: Person
    clinic: Clinic
    key: DataKey
    now: datetime
    not_after_ms: Mapping[Channel, int]
    attempt: int = 1
    visit: Visit | None = None


class Message(NamedTuple):
    """One record for a deliver topic."""

    topic: str
    value: bytes
    template_id: str
    template_version: int


class Messages:
    """Makes the messages of a plan's steps."""

    def __init__(self, catalog: Catalog, templates: Templates, codec: Codec, links: Links, email_from: str) -> None:
        """``email_from``: the address that emails leave from, where the clinic has none of its own. Raises TemplateError."""
        self._templates = templates
        self._links = links
        self._codec = codec
        # Every deliver topic has the same record; its schema id may differ by topic, since subjects do.
        self._encoders: dict[tuple[str, str], tuple[str, Callable[[Mapping[str, Any]], bytes]]] = {
            (channel, lane): (deliver_topic(channel, lane), codec.encoder(deliver_topic(channel, lane), MESSAGE))
            for channel in CHANNELS
            for lane in LANES
        }
        self._of_type = {
            name: {
                "category": kind.category,
                "sender_class": kind.sender_class,
                "essential": kind.essential,
            }
            for name, kind in catalog.types.items()
        }
        self._consents = {
            (name, channel): kind.consent_type(channel) or ""
            for name, kind in catalog.types.items()
            for channel in kind.all_channels
        }
        self._preferences = {
            (name, channel): preferences_needed(kind, channel)
            for name, kind in catalog.types.items()
            for channel in kind.all_channels
        }
        # What is essential or transactional goes out whatever is wished: a link in it would promise what it does not do.
        self._unsubscribed_from = {
            name: kind.opt_in.email
            for name, kind in catalog.types.items()
            if kind.recipient_kind == "patient" and not kind.essential and kind.opt_in.email in OPT_INS["email"]
        }
        self._email_from = email_from
        # (type, event record) → what makes its calendar file; most types have none.
        self._calendars = {
            (name, record): make
            for name, kind in catalog.types.items()
            if kind.calendar is not None
            for record in {EVENT_TYPES[trigger.event].record for trigger in kind.triggers}
            if (make := calendar.bound_to(record, kind.calendar, f"type {name}")) is not None
        }
        # (type, event record) → what makes its receipt.
        self._receipts = {
            (name, record): receipt
            for name, kind in catalog.types.items()
            if kind.attach.receipt is not None
            for record in {EVENT_TYPES[trigger.event].record for trigger in kind.triggers}
            if (receipt := payment_receipt.bound_to(record, kind.attach.receipt, f"type {name}")) is not None
        }
        # Type → the event's field with the names of its forms.
        self._forms = {name: kind.attach.forms for name, kind in catalog.types.items() if kind.attach.forms}
        self._asking = {
            (name, record): ask
            for name, kind in catalog.types.items()
            if kind.asks == "confirmation"
            for record in {EVENT_TYPES[trigger.event].record for trigger in kind.triggers}
            if (ask := asking.bound_to(record)) is not None
        }
        self._in_app = {name: kind.in_app for name, kind in catalog.types.items()}
        self._tracked = frozenset(name for name, kind in catalog.types.items() if kind.tracked)
        self._pictured = frozenset(name for name, kind in catalog.types.items() if kind.pictures)
        self._template_ids = {name: kind.template_id for name, kind in catalog.types.items()}

    def make(self, told: Told, steps: Sequence[Mapping[str, Any]]) -> list[Message]:
        """One message for each of these steps of the plan (PlanStep), in order. Raises TemplateError."""
        facts: dict[str, Facts] = {}
        return [self._message(told, step["step"], step["channel"], step["delivery_id"], facts) for step in steps]

    def title(self, told: Told) -> str:
        """What a notification is called where anybody may look: its email's subject, else its push message's title."""
        request, policy = told.request, told.clinic.policy
        name, wanted = request["notification_type"], told.person.locale or policy["locale"]
        for channel in ("email", "push"):
            try:
                template = self._templates.find(self._template_ids[name], channel, wanted, policy["locale"])
            except TemplateError:
                continue  # the type has no text for this channel
            locale = written_in(wanted, template)
            zone = told.person.time_zone or policy["time_zone"]
            facts = Facts(told.event.value, told.person, policy, request["aggregate_id"], locale, zone)
            rendered = template.bound_to(told.event.name).render(facts)
            if rendered.subject:
                return str(rendered.subject)
        return str(policy["name"])

    def _message(
        self, told: Told, step: int, channel: Channel, delivery_id: str, facts_by_locale: dict[str, Facts]
    ) -> Message:
        request, person, policy = told.request, told.person, told.clinic.policy
        name = request["notification_type"]
        wanted = person.locale or policy["locale"]
        template = self._templates.find(self._template_ids[name], channel, wanted, policy["locale"])
        locale = written_in(wanted, template)
        facts = facts_by_locale.get(locale)
        if facts is None:
            zone = person.time_zone or policy["time_zone"]
            facts = facts_by_locale[locale] = Facts(
                told.event.value,
                person,
                policy,
                request["aggregate_id"],
                locale,
                zone,
                partial(self._unsubscribe_url, request, locale, told.now),
            )
        shortening = None
        if channel == "sms" or (channel == "email" and name in self._tracked):
            shortening = Shortening(self._links.short, delivery_id, policy, counted=name in self._tracked)
        rendered = template.bound_to(told.event.name).render(facts, shortening)
        to = person.addresses[channel]
        # Not tried again with what may have been the reason why it failed.
        picture = image_url(facts) if name in self._pictured and told.attempt == 1 else ""
        segments = pictures = 0
        country = ""
        if channel == "sms":
            country = country_of(to)
            links = [] if shortening is None else shortening.links(rendered)
            shown = picture if picture and facts.event["image_in_texts"] and takes_pictures(to) else ""
            content, segments = sms.content(rendered, to, links, shown)
            pictures = len(content["media_urls"])
            content["asks"] = self._asked(name, told.event.name, facts)
        elif channel == "email":
            files = self._files(told, name, to, facts)
            links = [] if shortening is None else shortening.links(rendered, picture=rendered.html is not None)
            picture_url = "" if shortening is None else shortening.picture_url()
            forms = facts.event.get(self._forms.get(name, ""), ())[:MAX_FORMS_NAMED]  # asked for by hand it names none
            content = email.content(
                rendered, to, person, locale, unsubscribe_url(facts), files, links, picture_url, forms
            )
        elif channel == "push":
            tokens, behaviour = person.devices or (to,), self._in_app[name]
            content = push.content(rendered, tokens, request["notification_id"], name, behaviour, locale, picture)
        else:
            about = (request["aggregate_type"], request["aggregate_id"])
            content = in_app.content(rendered, to, *about, self._in_app[name], locale)
            content["asks"] = self._asked(name, told.event.name, facts)
        not_after = request["expires_at"]
        quiet_ms = told.not_after_ms.get(channel)
        if quiet_ms is not None and (not_after is None or quiet_ms < ms_of(not_after)):
            not_after = at_ms(quiet_ms)
        topic, encode = self._encoders[channel, request["lane"]]
        message = {
            "delivery_id": delivery_id,
            "notification_id": request["notification_id"],
            "event_id": request["event_id"],
            "notification_type": name,
            "recipient": request["recipient"],
            "clinic_id": request["clinic_id"],
            "aggregate_type": request["aggregate_type"],
            "aggregate_id": request["aggregate_id"],
            "aggregate_version": request["aggregate_version"],
            "visit": "" if told.visit is None else told.visit.appointment_id,
            "visit_version": -1 if told.visit is None else told.visit.version,
            "lane": request["lane"],
            "channel": channel,
            "step": step,
            "attempt": told.attempt,
            "consent_scope": self._consents[name, channel],
            "preferences": self._preferences[name, channel],
            "template_id": template.template_id,
            "template_version": template.version,
            "locale": locale,
            "segments": segments,
            "pictures": pictures,
            "country": country,
            "send_not_after": not_after,
            "expires_at": request["expires_at"],
            "occurred_at": request["occurred_at"],
            "created_at": told.now,
            "correlation_id": request["correlation_id"],
            "sealed": seal(told.key, "ChannelMessage", delivery_id, self._codec.encode_content(CONTENT, content)),
            **self._of_type[name],
        }
        return Message(topic, encode(message), template.template_id, template.version)

    def _asked(self, name: str, record: str, facts: Facts) -> bytes | None:
        """What this message asks that a text or a button can answer; most ask nothing."""
        make = self._asking.get((name, record))
        found = None if make is None else make(facts)
        return None if found is None else self._codec.encode_content(asking.RECORD, found)

    def _files(self, told: Told, name: str, to: str, facts: Facts) -> list[dict[str, Any]]:
        """The files that this email carries whole; most carry none."""
        entry = self._calendars.get((name, told.event.name))
        receipt = self._receipts.get((name, told.event.name))
        return [
            *(() if entry is None else entry(facts, self._occasion(told, to))),
            *(() if receipt is None else receipt(facts)),
        ]

    def _occasion(self, told: Told, to: str) -> calendar.Occasion:
        request, policy = told.request, told.clinic.policy
        return calendar.Occasion(
            request["clinic_id"],
            request["aggregate_id"],
            request["aggregate_version"],
            to,
            policy["email_from"] or policy["email"] or self._email_from,
            told.now,
        )

    def _unsubscribe_url(self, request: Mapping[str, Any], locale: str, now: datetime) -> str:
        """Where the email's reader says no to such emails; empty for essential ones and staff's."""
        category = self._unsubscribed_from.get(request["notification_type"])
        if category is None:
            return ""
        return self._links.unsubscribe_url(
            request["recipient"], "email", category, request["notification_id"], locale, now
        )


def told_about(request: Mapping[str, Any], joined: Joined, not_after_ms: Mapping[Channel, int], attempt: int) -> Told:
    """What a message about a request is made from."""
    given = joined.given
    return Told(
        *(request, joined.event, given.person, joined.clinic, joined.key, at_ms(given.now_ms), not_after_ms, attempt),
        given.visit,
    )


def preferences_needed(kind: NotificationType, channel: Channel) -> list[str]:
    """The preferences that rules would ask again, were it decided now; their gates stop what waits to be sent."""
    if kind.essential:
        return []
    opt_in, category = kind.opt_in_name(channel), kind.preference_category
    return [
        "global_opt_out",
        f"{channel}_enabled",
        *([f"{channel}_opt_in.{opt_in}"] if opt_in else ()),
        *([f"category_{category}"] if category else ()),
        *([f"frequency_{kind.frequency_class}"] if kind.frequency_class != "none" else ()),
    ]


def written_in(wanted: str, template: CompiledTemplate) -> str:
    """The locale to write dates and money in: the recipient's, where the text is in that language; else the text's own."""
    same_language = wanted.partition("-")[0] == template.locale.partition("-")[0]
    return wanted if same_language else template.locale
