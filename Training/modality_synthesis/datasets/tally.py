"""Many doubts of a few kinds as one line a kind."""

from __future__ import annotations

from dataclasses import dataclass, field

from modality_synthesis.findings import Finding

_SHOWN = 3


@dataclass
class Tally:
    """Counts examples by kind; each kind becomes one finding with its number and the first examples."""

    _examples: dict[tuple[str, str, str], dict[str, None]] = field(default_factory=dict)

    def add(self, code: str, what: str, example: str, action: str = "") -> None:
        """Note one example; the same one counts once.

        Args:
            code: of the finding.
            what: is so, without the number and the examples: "participants.tsv says nothing of people".
            example: of it.
            action: what to do about it.
        """
        self._examples.setdefault((code, what, action), {})[example] = None

    def findings(self) -> list[Finding]:
        """One per kind, to be looked at."""
        return [
            Finding(
                code, "look", f"{what} ({len(examples)}): {_shown(list(examples))}.", action, value=float(len(examples))
            )
            for (code, what, action), examples in self._examples.items()
        ]


def _shown(examples: list[str]) -> str:
    some = ", ".join(examples[:_SHOWN])
    return some if len(examples) <= _SHOWN else f"{some} and {len(examples) - _SHOWN} more"
