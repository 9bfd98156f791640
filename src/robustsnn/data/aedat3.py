"""Recordings in AEDAT 3.1, the form of DVS128 Gesture."""

from __future__ import annotations

import re

import numpy as np

from robustsnn.data.aedat import SENSOR
from robustsnn.data.events import Events, in_order
from robustsnn.ground.errors import UserError

_MAGIC, _END = b"#!AER-DAT3.1", re.compile(rb"^#!END-HEADER\r?\n", re.MULTILINE)
_PACKET, _POLARITY, _SIZE = 28, 1, 8


def read_aedat3(content: bytes, name: str) -> Events:
    """The events of an AEDAT 3.1 file of a DVS128.

    Lines that begin with "#", the first "#!AER-DAT3.1" and the last "#!END-HEADER", then packets: a header of 28 bytes
    (little-endian: uint16 kind and source, then uint32 bytes per event, offset of the time, overflows of the time,
    capacity, number of events, number of valid ones), and `capacity` events. Those of kind 1 have 8 bytes: uint32 with
    bit 0 for valid, bit 1 for the polarity (1 = on), bits 2-16 for the row and 17-31 for the column, and the uint32
    time in microseconds, to which 2^31 is added for each overflow. Packets of other kinds and events that are not
    valid are passed over.

    `UserError`, with `name`: another format, a truncated header or packet, an address outside the sensor, time that
    runs backwards.
    """
    if not content.startswith(_MAGIC):
        raise UserError(f"{name} does not begin with {_MAGIC.decode()!r}; give an AEDAT 3.1 file")
    end = _END.search(content)
    if end is None:
        raise UserError(f"{name} ends within its header; it is truncated, get it again")
    at, found = end.end(), [np.empty((0, 3), np.int64)]
    while at < len(content):
        head = content[at : at + _PACKET]
        if len(head) < _PACKET:
            raise UserError(f"{name} ends within the header of a packet; it is truncated, get it again")
        kind = int(np.frombuffer(head, "<u2", 1)[0])
        size, _, overflows, capacity, number, _ = (int(n) for n in np.frombuffer(head, "<u4", offset=4))
        at += _PACKET
        if number > capacity or at + size * capacity > len(content) or (kind == _POLARITY and size != _SIZE):
            raise UserError(f"{name} ends within a packet, or its packet is damaged; get it again")
        if kind == _POLARITY:
            records = np.frombuffer(content, "<u4", 2 * number, at).reshape(-1, 2).astype(np.int64)
            valid = records[records[:, 0] & 1 == 1]
            found.append(np.column_stack([valid, np.full(len(valid), overflows << 31)]))
        at += size * capacity
    data, clock, rounds = np.concatenate(found).T
    t = clock + rounds
    order = in_order(t, name)
    data = data[order]
    return Events(t[order], data >> 17, data >> 2 & 0x7FFF, data >> 1 & 1, SENSOR, name)
