"""What Kafka, or its TLS, refuses us for good, and the mend: trying again does not help, as it does where a broker is away. Pure.

By librdkafka's codes, and by what it says of a connection, where one code means many things (``_TRANSPORT``). Its words
are not handed on: a broker may say in them what is nobody's business.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from confluent_kafka import KafkaError

_CERTIFICATES = "LUXE_KAFKA_CA_FILE, LUXE_KAFKA_CERTIFICATE_FILE and LUXE_KAFKA_KEY_FILE"
_LOGIN = "LUXE_KAFKA_USERNAME, LUXE_KAFKA_PASSWORD and LUXE_KAFKA_SASL_MECHANISM"
_WHO = "the broker's principal that we are (User:ANONYMOUS on one without certificate and password)"


class Refusal(NamedTuple):
    """``certain``: else a broker that is just starting or stopping looks the same."""

    said: str
    certain: bool = True


WANTS_TLS = Refusal(
    "it hangs up before it says who it is, as a listener that wants TLS does; if that goes on, set LUXE_KAFKA_SECURITY to SSL or"
    " SASL_SSL, or name a listener without TLS in LUXE_KAFKA_BOOTSTRAP",
    certain=False,
)
WANTS_PASSWORD = Refusal(
    "it hangs up on us at once, as a listener that wants a password (SASL) does; if that goes on, set LUXE_KAFKA_SECURITY to"
    f" SASL_SSL, with {_LOGIN}",
    certain=False,
)
NO_TLS = Refusal(
    "it hangs up when spoken to in TLS, as a listener without it does; if that goes on, name its TLS listener in"
    " LUXE_KAFKA_BOOTSTRAP, or set LUXE_KAFKA_SECURITY to PLAINTEXT",
    certain=False,
)
UNTRUSTED = Refusal(
    "its certificate is signed by nobody whom we trust, is for another name than it was asked for by, or has run out (or our"
    " clock is wrong); put its authority's into LUXE_KAFKA_CA_FILE, name it in LUXE_KAFKA_BOOTSTRAP and in its own"
    " advertised.listeners as its certificate does, or renew that"
)
TLS = Refusal(f"TLS cannot be agreed on with it; compare {_CERTIFICATES} with what its listener wants")
PASSWORD = Refusal(f"it refuses our name or password; compare {_LOGIN} with what it was told of us")
MECHANISM = Refusal("it takes no password of this kind; set LUXE_KAFKA_SASL_MECHANISM to one that its listener takes")
TOPIC = Refusal(
    f"its ACLs keep us from a topic; allow Read, Write, Describe and DescribeConfigs on our topics to {_WHO}"
)
GROUP = Refusal(f"its ACLs keep us from a consumer group; allow Read and Describe on our groups to {_WHO}")
TRANSACTION = Refusal(f"its ACLs keep us from transactions; allow Write and Describe on transactional ids to {_WHO}")
CLUSTER = Refusal(
    "its ACLs keep us from the cluster; allow IdempotentWrite on it (for `luxe topics create`: Create too, and AlterConfigs on"
    f" topics) to {_WHO}"
)

BY_CODE: Mapping[int, Refusal] = {
    KafkaError._SSL: TLS,
    KafkaError._AUTHENTICATION: PASSWORD,
    KafkaError.SASL_AUTHENTICATION_FAILED: PASSWORD,
    KafkaError.UNSUPPORTED_SASL_MECHANISM: MECHANISM,
    KafkaError.ILLEGAL_SASL_STATE: WANTS_PASSWORD,
    KafkaError.TOPIC_AUTHORIZATION_FAILED: TOPIC,
    KafkaError.GROUP_AUTHORIZATION_FAILED: GROUP,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: TRANSACTION,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: CLUSTER,
}
# What librdkafka says of a connection, as patterns; the first that fits.
_BY_WORDS: tuple[tuple[str, Refusal | None], ...] = (
    # What passes: a connection that broke in the handshake, and trouble of the broker's own.
    ("SSL transport error", None),
    (r"SSL alert number (20|80)\b", None),
    ("credential store", None),
    ("connecting to a PLAINTEXT broker listener", NO_TLS),
    ("certificate could not be verified", UNTRUSTED),
    ("certificate verify failed", UNTRUSTED),
    ("SSL handshake failed", TLS),
    # It broke the connection off and said why, as TLS has it: a certificate of ours is missing, say, or is nobody's to it.
    (r"SSL alert number (4[0-9]|7[01]|112|116)\b", TLS),
    ("connecting to a SSL listener", WANTS_TLS),
    # The same, where it hung up on what it had not read.
    (r"Disconnected.* in state APIVERSION_QUERY", WANTS_TLS),
    (r"Disconnected.* in state SSL_HANDSHAKE", NO_TLS),
    ("might require SASL", WANTS_PASSWORD),
    ("Unsupported SASL mechanism", MECHANISM),
    ("SASL authentication", PASSWORD),
    ("mechanism handshake failed", PASSWORD),
    ("Topic authorization failed", TOPIC),
    ("Group authorization failed", GROUP),
    ("Transactional Id authorization failed", TRANSACTION),
    ("Cluster authorization failed", CLUSTER),
)


def by_words(said: str) -> Refusal | None:
    """The refusal that a line of librdkafka's is about; None: none that we know, so the broker is away."""
    return next((refusal for words, refusal in _BY_WORDS if re.search(words, said)), None)


def refusal_of(error: KafkaError) -> Refusal | None:
    """What refuses us by an error; None: it is none that we know. Words first: one code means many things."""
    return by_words(error.str()) or BY_CODE.get(error.code())


def why(error: KafkaError) -> str:
    """An error's name; where it is a refusal, also what is refused and the mend."""
    refusal = refusal_of(error)
    return error.name() if refusal is None else f"{error.name()}: {refusal.said}"
