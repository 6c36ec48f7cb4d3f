"""What killed processes left in a folder: moves that were noted are finished, everything else is removed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from modality_synthesis.volumes.leases import Lease, is_abandoned, parse_own_name
from modality_synthesis.volumes.moves import Move, identity, remove


def journal(moves: Iterable[Move], made: Iterable[Path], folder: Path) -> dict[str, Any]:
    """The moves as the master lease in `folder` keeps them: relative, since containers mount folders elsewhere."""

    def relative(path: Path) -> str:
        return os.path.relpath(path, folder)

    return {
        "moves": [
            {
                "temporary": relative(move.temporary),
                "place": relative(move.place),
                "kept": relative(move.kept),
                "before": identity(move.place),
            }
            for move in moves
        ],
        "made": [relative(path) for path in made],
    }


def clean_stale(folder: str | Path) -> list[Path]:
    """Remove what killed processes left in `folder`, and finish what they had noted to be moved.

    What belongs to a living process stays, in whatever container it runs; so does what may belong to one on another
    machine, until nothing happened to it for a day.

    Returns:
        what was removed or moved.
    """
    folder = Path(folder)
    found: list[Path] = []
    for path in _own_files(folder):
        own = parse_own_name(path.name)
        if own is not None and own.kind == "lease":
            found += _recover(path, own.token)
    for path in _own_files(folder):
        own = parse_own_name(path.name)
        # Two processes may clean the same folder at once, so any of this may be gone by now.
        with suppress(OSError):
            if own is None or own.kind == "lease" or (folder / f".ms-lease-{own.token}").exists():
                continue
            if is_abandoned(path, own.token):
                remove(path)
                found.append(path)
    return found


def _own_files(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.name.startswith(".") and ".ms-" in entry.name]
    except OSError:
        return []
    return [folder / name for name in sorted(names)]


def _recover(path: Path, token: str) -> list[Path]:
    lease = Lease.inherit(path)
    if lease is None:
        return []
    facts = lease.read()
    if master := _known_text(facts.get("master")):
        other = path.parent / master
        if other.exists():
            lease.leave()
            return _recover(other, token)
        if not other.parent.exists():  # not visible from here, and only it can tell
            lease.leave()
            return []
    moves = _moves(facts.get("moves"), path.parent, token)
    try:
        if all(move.may_finish() for move in moves):
            for move in moves:
                move.finish()
        for move in moves:
            move.give_up()
    except OSError:
        lease.leave()
        return []
    return _sweep(lease, token, moves, facts)


def _sweep(lease: Lease, token: str, moves: Sequence[Move], facts: dict[str, Any]) -> list[Path]:
    home = lease.path.parent
    swept = []
    for folder in dict.fromkeys([*(move.place.parent for move in moves), home]):
        for path in _own_files(folder):
            own = parse_own_name(path.name)
            if own is not None and own.token == token and path != lease.path:
                remove(path)
                swept.append(path)
    lease.end()
    made = facts.get("made")
    for name in reversed(made if isinstance(made, list) else []):
        with suppress(OSError, TypeError):
            (home / name).rmdir()  # refuses unless it is empty
    return [*swept, lease.path]


def _moves(noted: object, folder: Path, token: str) -> list[Move]:
    """The journal's moves; none when it was not written to its end, since nothing was moved then."""
    moves = []
    for entry in noted if isinstance(noted, list) else []:
        try:
            temporary, place, kept = (folder / entry[name] for name in ("temporary", "place", "kept"))
            before = entry["before"]
        except (KeyError, TypeError):
            return []
        # Only what a writer can have noted: the program's own files, beside their place.
        for path in (temporary, kept):
            own = parse_own_name(path.name)
            if own is None or own.token != token or path.parent != place.parent:
                return []
        moves.append(Move(temporary, place, kept, None if before is None else tuple(before)))
    return moves


def _known_text(value: object) -> str:
    return value if isinstance(value, str) else ""
