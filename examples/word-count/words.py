import re
from collections import Counter

WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")


def counted(text):
    """Return how often each word occurs, whatever its case. An apostrophe within a word belongs to it."""
    return Counter(word.casefold() for word in WORD.findall(text))
