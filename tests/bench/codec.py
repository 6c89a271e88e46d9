"""The codec against bare fastavro on appointment.created: decoding with all its checks, encoding with all its strictness.

python -m tests.bench.codec [--write build/bench.json]
"""

from __future__ import annotations

import argparse
from io import BytesIO
from pathlib import Path

import fastavro

from schemas.codec import HEADER_BYTES, Codec
from schemas.definitions import definition
from schemas.events import EVENT_TYPES
from schemas.registry import FileRegistry
from tests.bench.report import Figure, measure, rate, write
from tests.contract.golden import golden_value

CALLS = 5_000
DECODE_GOAL = 0.9
# Strict where bare fastavro is not: it may cost, but not double.
ENCODE_GOAL = 0.5


def figures() -> list[Figure]:
    """Measure both directions; about ten seconds."""
    contract = EVENT_TYPES["appointment.created"]
    codec = Codec(FileRegistry())
    value = golden_value(contract.record)
    encode = codec.encoder(contract.topic, contract.record)
    wire = encode(value)
    body = wire[HEADER_BYTES:]
    parsed = fastavro.parse_schema(definition(contract.record))

    def ours_decodes() -> None:
        decode = codec.decode
        for _ in range(CALLS):
            decode(wire)

    def bare_decodes() -> None:
        read = fastavro.schemaless_reader
        for _ in range(CALLS):
            read(BytesIO(body), parsed, None)

    def ours_encodes() -> None:
        for _ in range(CALLS):
            encode(value)

    def bare_encodes() -> None:
        write_bare = fastavro.schemaless_writer
        for _ in range(CALLS):
            out = BytesIO()
            write_bare(out, parsed, value)
            out.getvalue()

    decoding = measure(ours_decodes, bare_decodes, units_per_call=CALLS)
    encoding = measure(ours_encodes, bare_encodes, units_per_call=CALLS)
    return [
        rate("codec decodes ÷ bare fastavro", *decoding, "records/s", DECODE_GOAL),
        rate("codec encodes, strictly ÷ bare fastavro", *encoding, "records/s", ENCODE_GOAL),
    ]


def main() -> None:
    """Print the figures, and add them to a report where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, help="report to add the figures to")
    arguments = parser.parse_args()
    found = figures()
    for figure in found:
        print(figure.line())
    if arguments.write:
        write(found, arguments.write)


if __name__ == "__main__":
    main()
