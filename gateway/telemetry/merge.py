"""One page of metrics from those of several processes: what is counted is summed."""

from __future__ import annotations

from typing import Final, Self

from gateway.telemetry.metrics import BUILD, INSECURE, LEVEL

MOST_KEPT: Final = 200_000
"""Samples kept of processes that are gone; what is beyond starts at 0 again."""
_THE_SAME: Final = frozenset({INSECURE.name, LEVEL.name, BUILD.name})
"""What every process says alike."""
_EACH: Final = "process_"
"""Metrics of a process as the system sees it: they get a label that says which."""
_GROWING: Final = frozenset({"counter", "histogram"})

Number = int | float


class Merged:
    """Sums of samples in Prometheus's text format (0.0.4), by metric, name and labels."""

    def __init__(self) -> None:
        self._heads: dict[str, list[str]] = {}
        self._kinds: dict[str, str] = {}
        self._samples: dict[str, dict[str, Number]] = {}

    @property
    def size(self) -> int:
        """How many samples there are."""
        return sum(map(len, self._samples.values()))

    def add(self, text: bytes, *, process: int) -> None:
        """Add what a process wrote."""
        family = ""
        for line in text.decode().split("\n"):
            if line.startswith("# HELP "):
                family = line.split(" ", 3)[2]
                self._heads.setdefault(family, [line])
            elif line.startswith("# TYPE "):
                if family not in self._kinds:
                    self._kinds[family] = line.rpartition(" ")[2]
                    self._heads[family].append(line)
            elif line:
                key, _, value = line.rpartition(" ")
                if family.startswith(_EACH):
                    key = _labelled(key, process)
                self._count(family, key, int(value) if value.isdecimal() else float(value))

    def add_counts(self, other: Merged) -> None:
        """Add what only grows; what is at the moment, is not any more."""
        for family, kind in other._kinds.items():
            if kind in _GROWING and not family.startswith(_EACH):
                self._heads.setdefault(family, other._heads[family])
                self._kinds.setdefault(family, kind)
                for key, value in other._samples.get(family, {}).items():
                    self._count(family, key, value)

    def forget(self, *labels: str) -> None:
        """Drop the samples that have all these labels, each written as ``name="value"``."""
        for samples in self._samples.values():
            for key in [key for key in samples if all(label in key for label in labels)]:
                del samples[key]

    def copy(self) -> Self:
        """As it is now."""
        other = type(self)()
        other._heads, other._kinds = self._heads.copy(), self._kinds.copy()
        other._samples = {family: samples.copy() for family, samples in self._samples.items()}
        return other

    def render(self) -> bytes:
        """All of it, in the order in which it was first seen."""
        lines: list[str] = []
        for family, head in self._heads.items():
            lines += head
            lines += [f"{key} {value}" for key, value in self._samples.get(family, {}).items()]
        return "".join(f"{line}\n" for line in lines).encode()

    def _count(self, family: str, key: str, value: Number) -> None:
        samples = self._samples.setdefault(family, {})
        samples[key] = value if family in _THE_SAME else samples.get(key, 0) + value


def _labelled(key: str, process: int) -> str:
    if key.endswith("}"):
        return f'{key[:-1]},process="{process}"}}'
    return f'{key}{{process="{process}"}}'
