"""The files of kept emails, for whoever looks: named in the listing, each to be opened at an address of its own."""

from __future__ import annotations

import base64
import binascii
from typing import Any

# Longer ones are told of in the listing, and not quoted: a page of a thousand emails with forms would be gigabytes.
QUOTED_CHARACTERS = 64 * 1024
# What a browser may show of it: a page that was sent as a file does not run here.
SHOWN = frozenset({"application/pdf", "text/calendar", "text/plain"})


def listed(message_id: str, payload: dict[str, Any]) -> list[dict[str, Any]]:
    """Name, type, size in bytes and address of each of an email's files. ``payload`` loses the text of long ones."""
    found = []
    for number, file in enumerate(_files(payload)):
        text = str(file.get("content", ""))
        found.append(
            {
                "filename": file.get("filename"),
                "type": file.get("type"),
                "bytes": len(text) * 3 // 4 - text[-2:].count("="),
                "at": f"/messages/{message_id}/attachments/{number}",
            }
        )
        if len(text) > QUOTED_CHARACTERS:
            file["content"] = None
    return found


def opened(payload: dict[str, Any], number: int) -> tuple[bytes, str] | None:
    """A file's bytes and type; None: there is no such file, or it was not base64."""
    files = _files(payload)
    if number >= len(files):
        return None
    try:
        content = base64.b64decode(str(files[number].get("content", "")), validate=True)
    except binascii.Error:
        return None
    kind = str(files[number].get("type")).partition(";")[0]
    return content, kind if kind in SHOWN else "application/octet-stream"


def _files(payload: dict[str, Any]) -> list[dict[str, Any]]:
    found = payload.get("mail", {}).get("attachments")
    return [file for file in found if isinstance(file, dict)] if isinstance(found, list) else []
