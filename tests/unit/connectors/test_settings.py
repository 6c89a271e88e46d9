"""Settings that cannot be used: named, with the mend, and never shown."""

from __future__ import annotations

import pytest

from connectors.settings import Settings, SettingsError


def test_a_list_that_is_no_json_is_named_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUXE_API_CORS_ORIGINS", "https://secret.example")
    with pytest.raises(SettingsError, match=r"api_cors_origins.*JSON") as caught:
        Settings()
    assert "secret" not in str(caught.value)
