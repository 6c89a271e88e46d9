"""How many SMS segments a text takes: GSM 03.38 septets or UCS-2 units, alone or concatenated."""

from __future__ import annotations

from collections.abc import Iterable

# GSM 03.38 basic character set, and the extension table whose characters take two septets (3GPP TS 23.038 §6.2.1).
GSM_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM_EXTENDED = frozenset("\f^{}\\[~]|€")
_GSM = GSM_BASIC | GSM_EXTENDED

# Characters in one message alone, and in each part when a header for concatenation takes 6 octets (3GPP TS 23.040 §9.2.3.24).
GSM_ALONE, GSM_PART = 160, 153
UCS2_ALONE, UCS2_PART = 70, 67


def segment_count(text: str) -> int:
    """Segments needed for ``text``; an empty text (a message with media only) takes one."""
    if _GSM.issuperset(text):
        units = len(text) + sum(text.count(character) for character in GSM_EXTENDED)
        if units <= GSM_ALONE:
            return 1
        return _parts((2 if character in GSM_EXTENDED else 1 for character in text), GSM_PART)
    units = len(text.encode("utf-16-le")) // 2
    if units <= UCS2_ALONE:
        return 1
    return _parts((2 if ord(character) > 0xFFFF else 1 for character in text), UCS2_PART)


def _parts(widths: Iterable[int], capacity: int) -> int:
    """How many parts of ``capacity`` units; a character of two units is never cut between two parts."""
    parts, used = 1, 0
    for width in widths:
        if used + width > capacity:
            parts, used = parts + 1, 0
        used += width
    return parts
