"""The people of the made-up clinic, as rows of ``luxe recipients import``. Numbers and addresses are reserved for fiction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from random import Random
from typing import Any

CLINIC_ID = "clinic-demo"

_FIRST = "Ana Ben Chloe Dmitri Elena Farid Grace Hiro Ines Jamal Keiko Liam Maya Noor Oscar Priya Quinn Rosa Sam Tess".split()  # noqa: SIM905
_LAST = "Abbott Baker Castillo Diaz Ellis Fischer Garcia Hughes Ito Jensen Khan Lopez Meyer Novak Ortiz Patel".split()  # noqa: SIM905
_ZONES = ("America/New_York", "America/New_York", "America/New_York", "America/Chicago", "America/Los_Angeles")


@dataclass(frozen=True, slots=True)
class Patient:
    """A patient as events name her."""

    patient_id: str
    name: str
    phone: str
    email: str

    def __repr__(self) -> str:
        return "Patient(…)"


STAFF = (
    ("dr-smith", "Jennifer", "Smith", ("provider",)),
    ("dr-lee", "Marcus", "Lee", ("provider",)),
    ("front-1", "Olivia", "Reed", ("staff",)),
    ("front-2", "Nadia", "Brooks", ("staff", "inventory_manager")),
    ("admin-1", "Victor", "Stone", ("admin",)),
)
PROVIDERS = (("dr-smith", "Dr. Jennifer Smith"), ("dr-lee", "Dr. Marcus Lee"))


def make_patients(random: Random, count: int) -> list[Patient]:
    """``count`` patients; ids are the same for every seed, so that a second demo finds them again."""
    patients = []
    for number in range(count):
        first, last = random.choice(_FIRST), random.choice(_LAST)
        # 555-0100 to 555-0199 are reserved for fiction in every area code (NANPA); area codes 201 … 989.
        area = 201 + (number * 7) % 780
        area += 1 if area % 100 == 11 else 0
        patients.append(
            Patient(
                f"p-{number:04d}",
                f"{first} {last}",
                f"+1{area}5550{100 + number % 100}",
                f"{first}.{last}.{number}@example.com".lower(),
            )
        )
    return patients


def birthday_of(number: int) -> date:
    """Of the patient with that number."""
    return date(1950 + number % 55, 1 + number % 12, 1 + number % 28)


def patient_rows(random: Random, patients: list[Patient]) -> list[dict[str, Any]]:
    """Rows for the import: most reachable and consenting, some with wishes of their own, a few with holes."""
    rows: list[dict[str, Any]] = []
    for number, patient in enumerate(patients):
        first, _, last = patient.name.partition(" ")
        row: dict[str, Any] = {
            "recipient_id": patient.patient_id,
            "kind": "patient",
            "clinic_id": CLINIC_ID,
            "first_name": first,
            "last_name": last,
            "birthday": str(birthday_of(number)),
            "time_zone": random.choice(_ZONES),
            "locale": "en-US",
            "phone": patient.phone,
            "phone_verified": True,
            "email": patient.email,
            "email_verified": True,
            "consent.sms_transactional": "opted_in",
            "consent.email_transactional": "opted_in",
        }
        wishes = number % 10
        if wishes in (0, 1, 2, 3):
            row |= {
                "consent.email_marketing": "opted_in",
                "email_opt_in.marketing": True,
                "email_opt_in.reviews": True,
                "email_opt_in.membership": True,
            }
        if wishes in (0, 1):
            row |= {
                "consent.sms_marketing": "opted_in",
                "sms_opt_in.marketing": True,
                "sms_opt_in.reviews": True,
                "sms_opt_in.membership": True,
            }
        if wishes in (4, 9):  # they have the app, on two devices one of them
            row |= {
                "device_token": f"demo-{number:04d}:phone",
                "device_platform": "ios",
                "consent.push_notifications": "opted_in",
            }
        if wishes == 9:
            row |= {"device_2_token": f"demo-{number:04d}:tablet", "device_2_platform": "android"}
        if wishes == 5:
            row["global_opt_out"] = True
        if wishes == 6:
            row["sms_enabled"] = False
        if wishes == 7:
            row["consent.sms_transactional"] = "opted_out"
        if wishes == 8:
            del row["email"], row["email_verified"]
        rows.append(row)
    return rows


def staff_rows() -> list[dict[str, Any]]:
    """The clinic's staff."""
    return [
        {
            "recipient_id": staff_id,
            "kind": "staff",
            "clinic_id": CLINIC_ID,
            "first_name": first,
            "last_name": last,
            "roles": list(roles),
            "time_zone": "America/New_York",
            "locale": "en-US",
            "phone": f"+1212555015{number}",
            "phone_verified": True,
            "email": f"{staff_id}@luxe.example",
            "email_verified": True,
        }
        for number, (staff_id, first, last, roles) in enumerate(STAFF)
    ]
