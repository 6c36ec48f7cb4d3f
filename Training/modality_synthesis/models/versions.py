"""The order of semantic versions."""

from __future__ import annotations


def version_key(version: str) -> tuple[object, ...]:
    """Orders semantic versions: 1.9.0 < 1.10.0-rc.1 < 1.10.0; what follows a plus does not count."""
    release, _, prerelease = version.partition("+")[0].partition("-")
    numbers = tuple(int(part) for part in release.split("."))
    parts = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in prerelease.split("."))
    return (*numbers, not prerelease, parts)
