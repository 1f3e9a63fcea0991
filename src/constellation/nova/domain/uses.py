"""How it is said who still uses a thing that is to be deleted."""

from __future__ import annotations


def used_by(
    what: str,
    *,
    functions: tuple[str, ...],
    functions_count: int,
    versions: tuple[str, ...],
    versions_count: int,
) -> str:
    """Say which functions and kept versions hold something, of the first of them and how many there are, and the way out."""
    uses = [_some(functions, functions_count)] if functions else []
    advice = ["take it out of there first"] if functions else []
    if versions:
        uses.append(f"the kept versions {_some(versions, versions_count)}")
        advice.append("delete versions that are not needed (DELETE /functions/NAME/versions/N)")
    return f"{what} is used by {' and by '.join(uses) or 'a function'}; {' and '.join(advice) or 'try again'}"


def _some(names: tuple[str, ...], count: int) -> str:
    return ", ".join(names) + (f" and {count - len(names)} more" if count > len(names) else "")
