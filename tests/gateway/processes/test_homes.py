"""Where a script is at home: as many places as it may have instances, and every process agrees."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

import pytest

from gateway.model.plan import Limits
from gateway.model.route import Route
from gateway.model.script import ScriptKey, TenantStatus
from gateway.processes.cells import Cells
from gateway.processes.homes import Homes

PROCESSES = 5
SCRIPTS = [ScriptKey("production", f"script-{number}") for number in range(400)]


class Table:
    """All processes of a node."""

    def __init__(self) -> None:
        first = Cells.create(PROCESSES)
        more = range(1, PROCESSES)
        self.cells = [
            first,
            *(Cells(os.dup(first.descriptor), processes=PROCESSES, index=one) for one in more),
        ]
        self.homes = [Homes(cells) for cells in self.cells]
        for cells in self.cells:
            cells.take(willing=True)

    def of(self, key: ScriptKey, instances: int) -> set[int]:
        """The homes of a script, as each process that lives says of itself."""
        return {n for n, homes in enumerate(self.homes) if homes.is_home(key, instances)}


@pytest.fixture
def table() -> Iterator[Table]:
    made = Table()
    yield made
    for cells in made.cells:
        cells.close()


def route(key: ScriptKey, instances: int, least: int = 0) -> Route:
    limits = Limits(instances=instances)
    return Route(key, "t", "v", "free", limits, TenantStatus.ACTIVE, least_instances=least)


@pytest.mark.parametrize("instances", [1, 2, 4])
def test_a_script_has_as_many_homes_as_instances_and_all_lead_there(
    table: Table, instances: int
) -> None:
    for key in SCRIPTS:
        homes = table.of(key, instances)
        assert len(homes) == instances
        for number, one in enumerate(table.homes):
            place = one.elsewhere(route(key, instances))
            assert place in homes if number not in homes else place is None


def test_who_may_have_one_in_each_is_at_home_everywhere(table: Table) -> None:
    assert table.of(SCRIPTS[0], PROCESSES) == set(range(PROCESSES))
    assert all(one.elsewhere(route(SCRIPTS[0], PROCESSES)) is None for one in table.homes)


def test_scripts_are_spread_over_all(table: Table) -> None:
    counts = Counter(place for key in SCRIPTS for place in table.of(key, 1))
    assert min(counts.values()) > len(SCRIPTS) // PROCESSES // 2


def test_nobody_can_choose_where_a_script_is_at_home(table: Table) -> None:
    other = Table()
    try:
        assert [table.of(key, 1) for key in SCRIPTS] != [other.of(key, 1) for key in SCRIPTS]
    finally:
        for cells in other.cells:
            cells.close()


def test_when_one_is_gone_only_what_was_at_home_there_moves_and_comes_back(table: Table) -> None:
    before = {key: table.of(key, 2) for key in SCRIPTS}
    table.cells[0].clear(3)
    for key, homes in before.items():
        left = table.of(key, 2) - {3}
        assert len(left) == 2
        assert left >= homes - {3}
        assert table.homes[0].elsewhere(route(key, 2)) != 3
    table.cells[3].take(willing=True)
    assert {key: table.of(key, 2) for key in SCRIPTS} == before


def test_who_is_about_to_end_serves_what_it_has(table: Table) -> None:
    table.cells[1].take(willing=False)
    assert all(table.homes[1].elsewhere(route(key, 1)) is None for key in SCRIPTS)


def test_of_several_homes_the_one_with_the_fewest_connections_is_asked(table: Table) -> None:
    for number, cells in enumerate(table.cells):
        cells.connections(number)
    for key in SCRIPTS[:50]:
        homes = table.of(key, 3)
        for number in set(range(PROCESSES)) - homes:
            assert table.homes[number].elsewhere(route(key, 3)) == min(homes)


def test_of_several_versions_the_one_that_may_have_least_decides(table: Table) -> None:
    homes = table.of(SCRIPTS[0], 1)
    for number in set(range(PROCESSES)) - homes:
        assert table.homes[number].elsewhere(route(SCRIPTS[0], PROCESSES, least=1)) in homes
