"""The fixture that keeps unit tests off the network."""

from __future__ import annotations

import asyncio
import socket

import pytest


def test_a_unit_test_cannot_open_a_socket() -> None:
    with pytest.raises(AssertionError, match="integration"):
        socket.create_connection(("127.0.0.1", 9))


async def test_a_unit_test_can_be_asynchronous() -> None:
    await asyncio.sleep(0)
