"""`luxe templates`, as far as it needs no database."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from cli.templates import command


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(command, arguments)
    return result.exit_code, result.output


def test_the_committed_texts_are_good() -> None:
    status, output = run("check")
    assert (status, "all good" in output) == (0, True), output


def test_a_fault_is_named_and_ends_in_failure(tmp_path: Path) -> None:
    (tmp_path / "birthday_offer.yaml").write_text(
        "template_id: birthday_offer\nlocales: {en: {sms: {body: '{{ x }}'}}}"
    )
    status, output = run("check", "--folder", str(tmp_path))
    assert status == 1
    assert "birthday_offer.yaml: there is no variable x" in output


def test_a_preview_shows_each_channel_and_the_segments() -> None:
    status, output = run("preview", "appointment_confirmation")
    assert status == 0, output
    assert "Hi Sarah" in output
    assert "1 segment, gsm7" in output
    assert "behind sign-in" in output


def test_an_emails_html_can_be_seen() -> None:
    status, output = run("preview", "appointment_confirmation", "--channel", "email", "--html")
    assert (status, output.startswith("<!doctype html>")) == (0, True)


def test_what_there_is_not_is_said() -> None:
    assert run("preview", "nope")[0] == 1
    assert "is for" in run("preview", "appointment_confirmation", "--event", "payment.received")[1]
    assert "no such text in fr" in run("preview", "appointment_confirmation", "--locale", "fr")[1]
