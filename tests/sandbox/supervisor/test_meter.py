"""The CPU account: who pays for what when invocations share a process."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from sandbox.outcome import Outcome
from sandbox.supervisor import meter, watchdog
from sandbox.supervisor.meter import GRACE_NS, LONGEST_REST_NS, Meter
from sandbox.supervisor.stolen import StolenTime
from sandbox.supervisor.watchdog import EARLY_NS, Watchdog

pytestmark = pytest.mark.anyio
MS = 1_000_000


class ScriptedProcess:
    """A process whose CPU clock the test moves."""

    base_rss_bytes = 10
    pid = 0

    def __init__(self) -> None:
        self.cpu = 0
        self.rss = 10
        self.interrupts = 0
        self.killed = False
        self.gone = False
        self.courteous = False
        self.delayed = 0

    def cpu_ns(self, *, exact: bool) -> int:
        if self.gone:
            raise ProcessLookupError
        return self.cpu

    def rss_bytes(self) -> int:
        return self.rss

    def interrupt(self) -> None:
        self.interrupts += 1

    def kill(self) -> None:
        self.killed = True

    def delayed_ns(self) -> int:
        return self.delayed

    def give_way(self, on: bool) -> None:
        self.courteous = on


class Account:
    """A meter on a scripted process."""

    def __init__(self, stat: Path) -> None:
        self.process = ScriptedProcess()
        self.watchdog = Watchdog(StolenTime(stat))
        self.expired: list[str] = []
        self.meter = Meter(self.process, self.watchdog, memory_bytes=100, on_kill=lambda: None)

    def begin(self, budget_ms: int, name: str = "", wall_ms: int = 60_000):  # type: ignore[no-untyped-def]
        return self.meter.begin(
            budget_ms * MS,
            wall_ms * MS,
            lambda: self.expired.append(name),
            now_ns=time.monotonic_ns(),
        )

    def check(self) -> int | None:
        return self.meter.check(time.monotonic_ns())


@pytest.fixture
async def account(tmp_path: Path):  # type: ignore[no-untyped-def]
    made = Account(stat=tmp_path / "a kernel that does not say what is stolen")
    yield made
    made.watchdog.close()


async def test_alone_an_invocation_pays_exactly_what_the_process_burnt(account: Account) -> None:
    account.process.cpu = 5 * MS
    charge = account.begin(10)
    account.process.cpu = 8 * MS
    assert account.meter.end(charge) == 3 * MS
    assert account.meter.end(charge) == 0


async def test_what_is_burnt_together_is_split_among_those_in_flight(account: Account) -> None:
    first = account.begin(10)
    account.process.cpu = 2 * MS
    second = account.begin(10)
    account.process.cpu = 6 * MS
    account.meter.used_ns(second)
    assert account.meter.end(first) == 4 * MS
    account.process.cpu = 7 * MS
    assert account.meter.end(second) == 3 * MS


async def test_among_several_the_clock_is_read_at_most_every_millisecond(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The same one, so that no machine is too slow for it.
    now_ns = time.monotonic_ns()
    monkeypatch.setattr(meter, "time", SimpleNamespace(monotonic_ns=lambda: now_ns))
    first = account.begin(10)
    second = account.begin(10)
    account.process.cpu = 6 * MS
    assert account.meter.end(first) == 0
    assert account.meter.end(second) == 6 * MS, "what was burnt is always somebody's"


async def test_a_process_may_burn_the_sum_of_the_budgets_in_flight(account: Account) -> None:
    account.begin(10)
    account.begin(10)
    account.process.cpu = 19 * MS
    assert account.check() is not None
    assert account.process.interrupts == 0
    account.process.cpu = 20 * MS
    account.check()
    assert account.process.interrupts == 1
    assert account.meter.tripped is Outcome.EXCEEDED_CPU
    assert not account.process.killed


async def test_a_finished_invocation_takes_its_unspent_rest_out(account: Account) -> None:
    first = account.begin(10)
    account.begin(10)
    account.process.cpu = 4 * MS
    account.meter.end(first)
    account.process.cpu = 12 * MS
    account.check()
    assert account.process.interrupts == 1, "2 ms by the first, 10 ms by the second"


async def test_who_waits_does_not_pay_for_those_that_come_and_go(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meter, "SHARED_READING_NS", -1)
    waiting = account.begin(10)
    for _ in range(50):
        short = account.begin(10)
        account.process.cpu += 2 * MS
        account.meter.end(short)
        account.check()
    assert account.process.interrupts == 0
    account.process.cpu += 10 * MS
    account.check()
    assert account.process.interrupts == 1
    account.meter.end(waiting)


async def test_those_that_come_and_go_do_not_pay_more_than_they_bring(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meter, "SHARED_READING_NS", -1)
    account.begin(10)
    for _ in range(5):
        short = account.begin(10)
        account.process.cpu += 11 * MS
        account.meter.end(short)
        assert account.process.interrupts == 0
    account.process.cpu += 5 * MS
    account.check()
    assert account.process.interrupts == 1


async def test_past_the_grace_the_process_is_killed(account: Account) -> None:
    account.begin(10)
    account.process.cpu = 10 * MS + GRACE_NS
    assert account.check() is None
    assert account.process.killed
    assert account.meter.killed_for is Outcome.EXCEEDED_CPU


async def test_memory_over_the_plan_kills(account: Account) -> None:
    account.begin(10)
    account.process.rss = 111
    account.check()
    assert account.meter.killed_for is Outcome.EXCEEDED_MEMORY


async def test_memory_is_looked_at_again_once_the_process_has_run(account: Account) -> None:
    account.begin(10)
    account.check()
    account.process.rss = 111
    account.check()
    assert account.meter.killed_for is None, "it cannot have grown without running"
    account.process.cpu = 1
    account.check()
    assert account.meter.killed_for is Outcome.EXCEEDED_MEMORY


async def test_those_that_are_due_within_a_moment_are_looked_at_together(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    now_ns = time.monotonic_ns() + 60_000 * MS  # Nobody is looked at by itself.

    class Looked:
        def __init__(self, name: str, late_ns: int) -> None:
            self.name, self.armed_for_ns = name, 0
            account.watchdog.arm(self, now_ns + late_ns)  # type: ignore[arg-type]

        def check(self, _: int) -> int:
            looked.append(self.name)
            return 20 * MS

    for name, late_ns in (("due", 0), ("soon", EARLY_NS), ("later", EARLY_NS + 1)):
        Looked(name, late_ns)
    monkeypatch.setattr(watchdog, "time", SimpleNamespace(monotonic_ns=lambda: now_ns))
    account.watchdog._fire()
    assert looked == ["due", "soon"]


async def test_wall_time_is_told_once(account: Account) -> None:
    account.begin(10, "slow", wall_ms=0)
    account.check()
    account.check()
    assert account.expired == ["slow"]


async def test_cpu_between_invocations_is_seen(account: Account) -> None:
    charge = account.begin(10)
    account.meter.end(charge)
    account.process.cpu = 7 * MS
    assert account.meter.idle_burn_ns() == 7 * MS
    assert account.meter.idle_burn_ns() == 0


async def test_a_dead_process_costs_what_was_last_known(account: Account) -> None:
    charge = account.begin(10)
    account.process.cpu = 3 * MS
    account.meter.kill(Outcome.EXCEEDED_WALL_TIME)
    account.process.gone = True
    assert account.meter.end(charge) == 3 * MS


async def test_the_kernels_final_figure_counts_when_it_is_known(account: Account) -> None:
    charge = account.begin(10)
    account.process.gone = True
    assert account.meter.end(charge, final_cpu_ns=6 * MS) == 6 * MS


async def test_a_small_budget_is_looked_at_in_time_after_a_large_one(account: Account) -> None:
    large = account.begin(1000)
    far = account.meter.armed_for_ns
    account.meter.end(large)
    account.begin(10)
    assert account.meter.armed_for_ns < far


async def test_a_renewed_budget_is_added_to_what_is_left(account: Account) -> None:
    charge = account.begin(10)
    account.process.cpu = 8 * MS
    account.meter.renew(charge, 10 * MS, 20 * MS, now_ns=time.monotonic_ns())
    account.process.cpu = 19 * MS
    account.check()
    assert account.process.interrupts == 0
    account.process.cpu = 20 * MS
    account.check()
    assert account.process.interrupts == 1
    assert account.meter.end(charge) == 20 * MS


async def test_a_grant_adds_to_one_budget_until_the_limit_was_hit(account: Account) -> None:
    charge = account.begin(10)
    account.meter.grant(charge, 5 * MS)
    account.process.cpu = 12 * MS
    account.meter.check(time.monotonic_ns())
    assert account.meter.tripped is None
    account.process.cpu = 15 * MS
    account.meter.check(time.monotonic_ns())
    assert account.meter.tripped is Outcome.EXCEEDED_CPU
    account.meter.grant(charge, 100 * MS)
    account.meter.check(time.monotonic_ns())
    assert account.process.interrupts == 2
    # What was granted and not used goes when it goes.
    assert account.meter.end(charge) == 15 * MS


async def test_no_more_is_saved_up_than_is_allowed(account: Account) -> None:
    charge = account.begin(10)
    for _ in range(100):
        account.meter.renew(charge, 10 * MS, 20 * MS, now_ns=time.monotonic_ns())
    account.meter.renew(charge, 0, 10 * MS, now_ns=time.monotonic_ns())
    account.process.cpu = 10 * MS
    account.check()
    assert account.process.interrupts == 1


async def test_what_one_saves_another_cannot_keep(account: Account) -> None:
    renewed = account.begin(10)
    account.begin(10)
    account.meter.renew(renewed, 30 * MS, 40 * MS, now_ns=time.monotonic_ns())
    account.meter.end(renewed)
    account.process.cpu = 10 * MS
    account.check()
    assert account.process.interrupts == 1


async def test_a_limit_that_was_hit_stays_hit(account: Account) -> None:
    charge = account.begin(10)
    account.process.cpu = 10 * MS
    account.check()
    account.meter.renew(charge, 10 * MS, 20 * MS, now_ns=time.monotonic_ns())
    account.check()
    assert account.process.interrupts == 2


async def test_an_entry_goes_on_whose_limit_was_hit_once_for_each_grant(account: Account) -> None:
    charge = account.begin(10)
    assert not account.meter.extend(charge, 10 * MS)
    account.process.cpu = 11 * MS
    account.check()
    assert account.meter.extend(charge, 10 * MS)
    assert not account.meter.extend(charge, 10 * MS)
    account.check()
    assert (account.meter.tripped, account.process.interrupts) == (None, 1)
    account.process.cpu = 20 * MS
    account.check()
    assert (account.meter.tripped, account.process.interrupts) == (Outcome.EXCEEDED_CPU, 2)
    account.process.cpu = 20 * MS + GRACE_NS
    account.check()
    assert account.process.killed
    assert not account.meter.extend(charge, 10 * MS)
    assert account.meter.tripped is Outcome.EXCEEDED_CPU


async def test_a_budget_that_shrinks_is_looked_at_sooner(account: Account) -> None:
    charge = account.begin(10_000)
    far = account.meter.armed_for_ns
    account.meter.renew(charge, 0, 1 * MS, now_ns=time.monotonic_ns())
    assert account.meter.armed_for_ns < far


async def test_a_process_that_only_stands_open_is_looked_at_less_and_less(account: Account) -> None:
    charge = account.begin(10)
    account.meter.set_deadline(charge, None)
    waits = [account.check() or 0 for _ in range(10)]
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_REST_NS
    account.process.cpu = 10 * MS
    account.check()
    assert account.process.interrupts == 1


async def test_a_message_ends_the_rest(account: Account) -> None:
    charge = account.begin(10)
    account.meter.set_deadline(charge, None)
    account.meter.armed_for_ns = time.monotonic_ns() + LONGEST_REST_NS
    account.meter.renew(charge, 10 * MS, 20 * MS, now_ns=time.monotonic_ns())
    assert account.meter.armed_for_ns - time.monotonic_ns() < 20 * MS


async def test_a_request_beside_it_is_watched_as_ever(account: Account) -> None:
    account.meter.set_deadline(account.begin(10), None)
    account.check()
    account.begin(10)
    for _ in range(5):
        assert (account.check() or 0) <= 20 * MS


async def test_a_deadline_that_was_put_off_is_kept(account: Account) -> None:
    charge = account.begin(10, "closed", wall_ms=0)
    account.meter.set_deadline(charge, None)
    account.check()
    assert account.expired == []
    account.meter.set_deadline(charge, time.monotonic_ns())
    account.check()
    assert account.expired == ["closed"]


async def test_nobody_is_charged_the_time_in_which_the_node_stood_still(account: Account) -> None:
    ended = asyncio.Event()
    begun_ns = time.monotonic_ns()
    account.meter.begin(1000 * MS, 100 * MS, ended.set, now_ns=begun_ns)
    account.meter.set_deadline(account.begin(1000), None)
    time.sleep(0.5)  # noqa: ASYNC251 - this is what is tested
    await asyncio.wait_for(ended.wait(), 30)
    assert time.monotonic_ns() - begun_ns > 550 * MS
    assert account.expired == []


async def test_wall_time_does_not_include_what_who_burns_waited_for_a_core(
    account: Account,
) -> None:
    begun = time.monotonic_ns()
    account.begin(1000, "burns", wall_ms=100)
    account.process.cpu = 15 * MS
    account.meter.check(begun + 20 * MS)
    assert account.process.courteous
    account.process.delayed = 90 * MS
    account.process.cpu = 25 * MS
    account.meter.check(begun + 150 * MS)
    assert account.expired == []
    account.meter.check(begun + 195 * MS)
    assert account.expired == ["burns"]


async def test_wall_time_is_lengthened_by_so_much_and_no_more(account: Account) -> None:
    begun = time.monotonic_ns()
    account.begin(1000, "burns", wall_ms=100)
    account.process.cpu = 15 * MS
    account.meter.check(begun + 20 * MS)
    for late_ms in (150, 300):
        account.process.delayed += 1000 * MS
        account.meter.check(begun + late_ms * MS)
        assert account.expired == []
    account.process.delayed += 1000 * MS
    account.meter.check(begun + 510 * MS)
    assert account.expired == ["burns"]


async def test_who_only_waits_for_a_core_like_others_has_its_wall_time(account: Account) -> None:
    begun = time.monotonic_ns()
    account.begin(1000, "waits", wall_ms=100)
    account.process.delayed = 90 * MS
    account.meter.check(begun + 101 * MS)
    assert account.expired == ["waits"]
