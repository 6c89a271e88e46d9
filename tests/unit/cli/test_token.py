"""``luxe token``: what it prints is taken by the API, and a link keeps its token in the fragment."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner, Result

from api.identity import Verifier
from api.secret import jwt_secret
from cli.token import command
from connectors.settings import Settings


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LUXE_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("LUXE_PAGES_BASE_URL", "https://pages.example/")
    return tmp_path


def printed(*words: str) -> Result:
    return CliRunner().invoke(command, words)


def test_a_link_signs_in_by_its_fragment(state: Path) -> None:
    result = printed("--role", "staff", "--sub", "front-1", "--clinic", "c1", "--page")
    assert result.exit_code == 0, result.output
    link = urlsplit(result.output.strip())
    assert (link.scheme, link.netloc, link.path, link.query) == ("https", "pages.example", "/inbox/enter", "")
    settings = Settings()
    identity = Verifier.of(settings, jwt_secret(settings)).identify(link.fragment)
    assert (identity.actor, identity.clinics) == ("staff:front-1", frozenset({"c1"}))


def test_a_service_has_no_page(state: Path) -> None:
    result = printed("--role", "service", "--clinic", "*", "--page")
    assert result.exit_code == 2
    assert "has no inbox" in result.output
