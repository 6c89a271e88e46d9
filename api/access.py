"""Which roles may do what at all; whose, is decided at the resource. One table, so that it can be read at once."""

from __future__ import annotations

CARE: frozenset[str] = frozenset({"patient", "staff", "provider", "admin", "service"})

READ_PREFERENCES = CARE
CHANGE_PREFERENCES = frozenset({"patient", "staff", "admin", "service"})
READ_CONSENTS = CARE
CHANGE_CONSENTS = CHANGE_PREFERENCES
READ_ADDRESSES = CARE
CHANGE_ADDRESSES = CHANGE_PREFERENCES
READ_DEVICES = CARE
# By the app of whoever is signed in, or what stands behind it: nobody else has a person's messages sent to a device.
REGISTER_DEVICES = frozenset({"patient", "service"})
REMOVE_DEVICES = CHANGE_PREFERENCES  # a stolen phone, told to the front desk
READ_SUPPRESSIONS = frozenset({"staff", "admin", "service"})
CHANGE_SUPPRESSIONS = frozenset({"staff", "admin", "service"})
READ_POLICIES = frozenset({"staff", "provider", "marketing", "admin", "service"})
CHANGE_POLICIES = frozenset({"admin", "service"})
READ_EXPLANATIONS = CARE
# Everybody has an inbox of their own, and nobody sees another's; a service is nobody.
OWN_INBOX = frozenset({"patient", "staff", "provider", "inventory_manager", "marketing", "admin"})
ALERT_BOARD = OWN_INBOX - {"patient"}
ASK_WHAT_IF = CARE
# Which types, is asked where they are asked for: marketing sends offers only, and what is critical is an admin's or a service's.
SEND_NOTIFICATIONS = frozenset({"staff", "provider", "marketing", "admin", "service"})
CANCEL_NOTIFICATIONS = SEND_NOTIFICATIONS
READ_NOTIFICATIONS = CARE
# Whose turn it is at a waitlist's slot, or staff who talk with her.
ANSWER_OFFERS = CARE
