"""What is taken for a form, and which names are the same form."""

from __future__ import annotations

import pytest

from connectors.postgres.documents import MAX_DOCUMENT_BYTES, DocumentError, checked, form_key

PDF = b"%PDF-1.7\n1 0 obj\nendobj\ntrailer\nstartxref\n0\n%%EOF\n"


@pytest.mark.parametrize(
    ("form", "filename", "content"),
    [
        ("Health questionnaire", "health.pdf", PDF),
        ("Fragebogen", "Gesundheits-Fragebogen (neu).PDF", b"\n" + PDF),
        ("x" * 200, "a.pdf", PDF + b"\0" * (MAX_DOCUMENT_BYTES - len(PDF) - 100) + b"%%EOF"),
    ],
)
def test_forms_that_are_kept(form: str, filename: str, content: bytes) -> None:
    checked(form, filename, content)


@pytest.mark.parametrize(
    ("form", "filename", "content", "said"),
    [
        (" ", "a.pdf", PDF, "form: 1 to 200 characters"),
        ("x" * 201, "a.pdf", PDF, "form: 1 to 200 characters"),
        ("Form", "a.exe", PDF, "file: its name goes with the email"),
        ("Form", "a/b.pdf", PDF, "file: its name"),
        ("Form", "a\nb.pdf", PDF, "file: its name"),
        ("Form", "a" * 97 + ".pdf", PDF, "at most 100 plain characters"),
        ("Form", "a.pdf", b"", "file: empty"),
        ("Form", "a.pdf", b"<html>%%EOF", "file: not a whole PDF"),
        ("Form", "a.pdf", PDF[:-8], "file: not a whole PDF"),
        ("Form", "a.pdf", PDF + b"\0" * MAX_DOCUMENT_BYTES, "save it smaller"),
    ],
)
def test_what_is_no_form_is_refused_with_its_mend(form: str, filename: str, content: bytes, said: str) -> None:
    with pytest.raises(DocumentError, match=said):
        checked(form, filename, content)


@pytest.mark.parametrize("form", ["Health  Questionnaire", " HEALTH QUESTIONNAIRE\n", "health questionnaire"])
def test_names_are_compared_without_regard_to_capitals_and_spaces(form: str) -> None:
    assert form_key(form) == "health questionnaire"
