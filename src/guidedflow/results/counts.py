"""Counts in words."""


def plural(count: int, noun: str) -> str:
    """A count with its noun: `1 seed`, `3 seeds`, `2 studies`, `1,000 episodes`."""
    if count == 1:
        return f"1 {noun}"
    ends_in_ies = noun.endswith("y") and noun[-2] not in "aeiou"
    return f"{count:,} {f'{noun[:-1]}ies' if ends_in_ies else f'{noun}s'}"
