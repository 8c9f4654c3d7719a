"""Makes journals grow as clients do that send a byte at a time, without sending them: `src/storage/local/format/record.rs` has the
form, byte by byte.
"""

import struct

MAGIC_BYTES = 8
STORED = {3, 67}  # without and with a count of running time


def records(journal):
    """The records of a journal's bytes, in order, heads and all."""
    at = MAGIC_BYTES
    while at + 8 <= len(journal):
        length = struct.unpack_from("<I", journal, at)[0]
        if at + 8 + length > len(journal):
            return
        yield journal[at:at + 8 + length]
        at += 8 + length


def grow(path, to_bytes):
    """Repeats the ranges that a journal claims, over and over, until it has so many bytes: it says what it said.
    Tells whether there was a range."""
    journal = path.read_bytes()
    ranges = [record for record in records(journal) if record[8] in STORED]
    if not ranges:
        return False
    many = b"".join(ranges) * (1 + (to_bytes - len(journal)) // sum(map(len, ranges)))
    with open(path, "ab") as file:
        file.write(many)
    return True
