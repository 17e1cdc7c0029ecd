"""Plain: whether a file's values are written in the one way that PostgreSQL can't misread.

Nearly every month that TLC has published is. Then dbt's models cast its values as they are, in
half the time that it takes to look at each of them (dbt_project/macros/typed_rows.sql). The bytes
pass here anyway, on their way to COPY.
"""

import re

import numpy as np

DIGITS = b"0123456789"
ZEROS = bytes.maketrans(DIGITS, b"0" * len(DIGITS))
TIME = b"0000-00-00 00:00:00"
MARKS = DIGITS + b'.,:- "\r\n'
FLAGS = b"NY"
# Of numbers of bases and licences, and of request_source. Other letters could make 1e5, 0x10,
# Infinity or a word for a time; these, only what is forbidden below.
CODES = b"ABHVb"
WORDS = (b"NAN", b"0B", b"0b")
PADDING = b" " * 21
# Numbers with more than 9 digits before the point; more than 25 digits are not even looked at.
LARGE = re.compile(rb"(?<![.0-9])[0-9]{10}")
MOST_DIGITS = 25


class Plainness:
    """What has been seen of a file's content so far.

    Attributes:
        is_plain: Whether each number has up to 9 digits before its point, and nothing but digits, a
            point and a minus sign; and whether all else are times, flags and numbers of bases.
        times: How many times there are that are written as 2021-01-31 13:05:00. Not counted where
            the file's types say that they are.
    """

    def __init__(self, are_times_typed: bool = False) -> None:
        self.are_times_typed = are_times_typed
        self.is_plain = True
        self.times = 0

    def see(self, piece: bytes) -> bytes:
        """Look at some whole lines of CSV; returns them."""
        if self.is_plain:
            zeros = piece.translate(ZEROS)
            self.is_plain = are_numbers_plain(piece, zeros)
            if self.is_plain and not self.are_times_typed:
                self.is_plain = not has_odd_time(piece)
                self.times += zeros.count(TIME)
        return piece


def are_numbers_plain(piece: bytes, zeros: bytes) -> bool:
    """Whether a piece of CSV has no odd numbers; `zeros` is the piece with 0 for each digit."""
    letters = piece.translate(None, MARKS)
    if letters.strip(FLAGS + CODES) or PADDING in piece:
        return False
    if letters.strip(FLAGS) and any(word in piece for word in WORDS):
        return False
    if b"0" * 10 not in zeros:
        return True
    return b"0" * (MOST_DIGITS + 1) not in zeros and LARGE.search(piece) is None


def has_odd_time(piece: bytes) -> bool:
    """Whether an hour is 24, or a minute or second 60 or more: turns of a day to PostgreSQL.

    With numpy, which needs a quarter of the time of a search for such texts.
    """
    text = np.frombuffer(piece, np.uint8)
    is_colon = text == ord(":")
    if np.any(is_colon[:-1] & (text[1:] > ord("5"))):
        return True
    is_24 = (text[:-3] == ord(" ")) & (text[1:-2] == ord("2")) & (text[2:-1] == ord("4"))
    return bool(np.any(is_24 & is_colon[3:]))
