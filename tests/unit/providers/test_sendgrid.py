"""The request body is the SDK's, and nothing of a person shows in print."""

from __future__ import annotations

from connectors.providers.sendgrid import Email, EmailFile, build

EMAIL = Email(
    sender="care@luxe.example",
    to="ana@mail.example",
    to_name="Ana",
    subject="Your visit",
    text="plain",
    html="<p>html</p>",
    headers={"List-Unsubscribe": "<https://luxe.example/u>"},
    files=[EmailFile("visit.ics", "text/calendar", b"BEGIN")],
    delivery_id="d-1",
    attempt=2,
    category="transactional",
)


def test_the_body_that_is_sent() -> None:
    assert build(EMAIL).get() == {
        "from": {"email": "care@luxe.example"},
        "subject": "Your visit",
        "personalizations": [{"to": [{"email": "ana@mail.example", "name": "Ana"}]}],
        "content": [{"type": "text/plain", "value": "plain"}, {"type": "text/html", "value": "<p>html</p>"}],
        "headers": {"List-Unsubscribe": "<https://luxe.example/u>"},
        "custom_args": {"delivery_id": "d-1", "attempt": "2"},
        "categories": ["transactional"],
        "tracking_settings": {
            "click_tracking": {"enable": False, "enable_text": False},
            "open_tracking": {"enable": False},
            "subscription_tracking": {"enable": False},
        },
        "attachments": [
            {
                "content": "QkVHSU4=",
                "filename": "visit.ics",
                "type": "text/calendar",
                "disposition": "attachment",
            }
        ],
    }


def test_an_email_prints_without_its_person() -> None:
    assert repr(EMAIL) == "Email(delivery_id='d-1')"
