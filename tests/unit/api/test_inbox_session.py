"""Whose forms the inbox's pages take, and what whoever is not signed in is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from api.inbox_session import require_own_page, signed_out
from api.problems import Problem
from api.resources import SETTINGS
from connectors.settings import Settings


def request_with(headers: dict[str, str], tmp_path: Path) -> web.Request:
    app = web.Application()
    app[SETTINGS] = Settings(state_dir=tmp_path, pages_base_url="https://pages.example")
    return make_mocked_request("POST", "/inbox/read", headers={"Host": "10.0.0.1:18080", **headers}, app=app)


@pytest.mark.parametrize(
    ("headers", "taken"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "same-site", "Origin": "https://pages.example"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "none"}, False),
        ({"Origin": "https://pages.example"}, True),
        ({"Origin": "http://10.0.0.1:18080"}, True),
        ({"Origin": "https://blog.pages.example"}, False),
        ({"Origin": "null"}, False),
        ({}, False),
    ],
)
def test_only_our_own_pages_post(headers: dict[str, str], taken: bool, tmp_path: Path) -> None:
    request = request_with(headers, tmp_path)
    if taken:
        require_own_page(request)
        return
    with pytest.raises(Problem) as refused:
        require_own_page(request)
    assert refused.value.status == 403


@pytest.mark.parametrize("headers", [{"Accept": "application/json"}, {"Sec-Fetch-Dest": "empty"}])
async def test_a_script_and_a_stream_are_told_401_without_a_page(headers: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(Problem) as refused:
        await signed_out(request_with(headers, tmp_path))
    assert refused.value.status == 401


async def test_a_person_is_shown_where_to_sign_in(tmp_path: Path) -> None:
    answer = await signed_out(request_with({"Accept-Language": "es-MX,es;q=0.9"}, tmp_path))
    assert isinstance(answer, web.Response)
    assert answer.status == 401
    assert "Identifíquese" in (answer.text or "")
    assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
