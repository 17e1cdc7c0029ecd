"""Plain: whether a file's values are written in the one way that PostgreSQL can't misread.

Nearly every month that TLC has published is. Then dbt's models cast its values as they are, in a
third of the time that it takes to look at each of them (dbt_project/macros/typed_rows.sql). The
bytes pass here anyway, on their way to COPY.
"""

import re

DIGITS = b"0123456789"
ZEROS = bytes.maketrans(DIGITS, b"0" * len(DIGITS))
TIME = b"0000-00-00 00:00:00"
MARKS = DIGITS + b'.,:- "\r\n'
FLAGS = b"NY"
# Of numbers of bases and licences, and of request_source. Other letters could make 1e5, 0x10,
# Infinity or a word for a time; these, only what is forbidden below.
CODES = b"ABHVb"
WORDS = (b"NAN", b"0B", b"0b")
# Midnight and a minute's end to PostgreSQL, which a reader takes for mistakes; and wide padding.
FORBIDDEN = (b" 24:", b":60", b" " * 21)
# Numbers with more than 9 digits before the point; more than 25 digits are not even looked at.
LARGE = re.compile(rb"(?<![.0-9])[0-9]{10}")
MOST_DIGITS = 25


class Plainness:
    """What has been seen of a file's content so far.

    Attributes:
        is_plain: Whether each number has up to 9 digits before its point, and nothing but digits, a
            point and a minus sign; and whether all else are times, flags and numbers of bases.
        times: How many times there are that are written as 2021-01-31 13:05:00.
    """

    def __init__(self) -> None:
        self.is_plain = True
        self.times = 0

    def see(self, piece: bytes) -> bytes:
        """Look at some whole lines of CSV; returns them."""
        if self.is_plain:
            zeros = piece.translate(ZEROS)
            self.is_plain = is_plain(piece, zeros)
            self.times += zeros.count(TIME)
        return piece


def is_plain(piece: bytes, zeros: bytes) -> bool:
    """Whether a piece of CSV has plain values alone; `zeros` is the piece with 0 for each digit."""
    letters = piece.translate(None, MARKS)
    forbidden = FORBIDDEN + WORDS if letters.strip(FLAGS) else FORBIDDEN
    if letters.strip(FLAGS + CODES) or any(found in piece for found in forbidden):
        return False
    if b"0" * (MOST_DIGITS + 1) in zeros:
        return False
    return b"0" * 10 not in zeros or LARGE.search(piece) is None
