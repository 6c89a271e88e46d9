"""Which unknown schema ids may be a later release's, whose readers wait, and which are nobody's, whose records are set aside."""

from __future__ import annotations

import pytest

from schemas.codec import CONTENT_MARK, Codec, CodecError, LaterSchemaError
from schemas.registry import LATER_IDS, FileRegistry, read_ids

HIGHEST = max(line.id for lines in read_ids().values() for line in lines)


@pytest.mark.parametrize(
    ("schema_id", "later"),
    [
        (0, False),
        (HIGHEST + 1, True),
        (HIGHEST + LATER_IDS, True),
        (HIGHEST + LATER_IDS + 1, False),
        (0x7FFF_FFFF, False),
    ],
)
def test_ids_above_ours_are_of_a_later_release(schema_id: int, later: bool) -> None:
    codec = Codec(FileRegistry())
    header = schema_id.to_bytes(4, "big")
    for read in (
        lambda: codec.decode(b"\0" + header + b"\0"),
        lambda: codec.decode_content("luxe.pipeline.MessageContent", CONTENT_MARK + header + b"\0"),
    ):
        with pytest.raises(CodecError) as refused:
            read()
        assert (refused.value.code, refused.value.schema_id) == ("unknown_schema_id", schema_id)
        assert isinstance(refused.value, LaterSchemaError) is later
