"""The CPU account of one instance, kept outside of it, and what happens when it is overdrawn.

Alone in its process an invocation's CPU is exact. When several share a process, what the process
burns between two readings is told as that of those in flight in equal parts, and the process may
burn no more than the sum of their budgets: each one put in adds its budget, what is burnt drains
the sum, and one that ends pays for what nobody has paid for yet, and takes its unspent rest out.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from sandbox.outcome import Outcome
from sandbox.supervisor.charge import Charge, Metered, closed
from sandbox.supervisor.courtesy import Courtesy
from sandbox.supervisor.stolen import Doubt

if TYPE_CHECKING:
    from sandbox.supervisor.watchdog import Watchdog

GRACE_NS = 10_000_000
"""CPU time between the soft limit (a signal) and the hard one (SIGKILL)."""
CLOSE_NS = 10_000_000
"""From half of a budget on, or so near to its end, it is heeded what the machine takes away."""
SPARED_NS = 2_000_000
"""CPU time beyond the limit for who was taken some by the machine, and has its clock read since."""
RETRY_NS = 1_000_000
"""The soft limit's signal is sent again after this long."""
MINIMUM_WAIT_NS = 100_000
SHARED_READING_NS = 1_000_000
"""The clock of a process that serves several is read this often at most when one comes or goes."""
SHORTEST_REST_NS = 5_000_000
LONGEST_REST_NS = 200_000_000
"""A process that stands open is looked at this often while it does not run."""
NEVER_NS = 1 << 63
MAX_HELD_UP = 4
"""A wall time is lengthened by no more than so many times itself."""
SHORTEST_HELD_UP_NS = 1_000_000
MEMORY_CHECK_NS = 20_000_000
"""A process in use is looked at this often at least, for its memory."""


class Meter:
    """Watches one sandbox. Begin and end are cheap; the watchdog looks in between."""

    def __init__(
        self,
        sandbox: Metered,
        watchdog: Watchdog,
        *,
        memory_bytes: int,
        on_kill: Callable[[], None],
    ) -> None:
        self._sandbox = sandbox
        self._watchdog = watchdog
        self._on_kill = on_kill
        self._memory_bytes = sandbox.base_rss_bytes + memory_bytes
        self._charges: set[Charge] = set()
        self._courtesy = Courtesy(sandbox)
        self._doubt = Doubt(sandbox.pid, watchdog.stolen, self._on_answer)
        self._spared_until_ns = 0
        """No limit is hit before the clock shows this."""
        self._last_ns = 0
        self._share_ns = 0
        self._unpaid_ns = 0
        """Burnt since the first of those in flight came, and in nobody's budget who has left."""
        self._allowed_ns = 0
        self._settled_at_ns = 0
        self._standing = 0
        """Entries that stand open without a deadline."""
        self._seen_ns = 0
        self._rest_ns = SHORTEST_REST_NS
        self._weighed_at_ns = -1
        """What the clock showed when its memory was last looked at."""
        self._nearest_ns = NEVER_NS
        """No deadline is before this one; those that were put off may make it too early."""
        self.armed_for_ns = 0
        """When the watchdog looks next (monotonic); 0: not at all."""
        self.idle_ns = 0
        """CPU burnt while nothing was in flight, since last asked."""
        self.tripped: Outcome | None = None
        """Set once a limit has been hit: whatever the instance says afterwards does not count."""
        self.killed_for: Outcome | None = None
        """Why the instance was killed, when the meter (or its owner) did it."""
        self._last_ns = self._read(exact=True)

    @property
    def in_flight(self) -> int:
        """Invocations in the account."""
        return len(self._charges)

    @property
    def last_cpu_ns(self) -> int:
        """CPU clock of the process when it was last read."""
        return self._last_ns

    def begin(
        self, budget_ns: int, wall_ns: int, on_expired: Callable[[], None], *, now_ns: int
    ) -> Charge:
        """Open an entry at ``now_ns``. ``on_expired`` is called once, after ``wall_ns``."""
        if self._charges:
            if now_ns - self._settled_at_ns > SHARED_READING_NS:
                self._settle_shared(now_ns)
            self._allowed_ns += budget_ns
        else:
            cpu_ns = self._read(exact=False)
            self.idle_ns += cpu_ns - self._last_ns
            self._last_ns = cpu_ns
            self._allowed_ns = cpu_ns + budget_ns
            self._unpaid_ns = 0
            self._doubt.settle()
            self._courtesy.begin(now_ns, cpu_ns)
        charge = Charge(
            budget_ns, now_ns + wall_ns, self._share_ns, on_expired, MAX_HELD_UP * wall_ns
        )
        self._charges.add(charge)
        if charge.deadline_ns < self._nearest_ns:
            self._nearest_ns = charge.deadline_ns
        look_at_ns = now_ns + min(budget_ns // self._watchdog.cores, MEMORY_CHECK_NS)
        if not self.armed_for_ns or look_at_ns < self.armed_for_ns:
            self._watchdog.arm(self, look_at_ns)
        return charge

    def end(self, charge: Charge, *, final_cpu_ns: int | None = None) -> int:
        """Close an entry and return its CPU time, ns; 0 when it is closed already.

        ``final_cpu_ns`` is the process's total as its parent reaped it, when it is dead.
        """
        if charge not in self._charges:
            return 0
        if final_cpu_ns is not None:
            self._settle(max(final_cpu_ns, self._last_ns))
        elif len(self._charges) > 1:
            now_ns = time.monotonic_ns()
            if now_ns - self._settled_at_ns > SHARED_READING_NS:
                self._settle_shared(now_ns)
        else:
            self._settle(self._read(exact=False))
        self._charges.remove(charge)
        # What it would call mostly holds who holds it: the circle would be left to the collector.
        charge.on_expired = closed
        self._standing -= charge.standing
        used_ns = self._share_ns - charge.start_share_ns
        self._allowed_ns -= charge.budget_ns - self._pay(charge.budget_ns)
        return charge.earlier_ns + used_ns

    def renew(self, charge: Charge, grant_ns: int, most_ns: int, *, now_ns: int) -> None:
        """Add ``grant_ns`` to what is left of an entry's budget, and leave it ``most_ns`` at most.

        A limit that has been hit stays hit.
        """
        if charge not in self._charges or self.tripped is not None:
            return
        if len(self._charges) > 1:
            if now_ns - self._settled_at_ns > SHARED_READING_NS:
                self._settle_shared(now_ns)
        else:
            self._settle(self._read(exact=False))
        used_ns = self._share_ns - charge.start_share_ns
        left_ns = charge.budget_ns - self._pay(min(used_ns, charge.budget_ns))
        renewed_ns = min(left_ns + grant_ns, most_ns)
        self._allowed_ns += renewed_ns - left_ns
        charge.earlier_ns += used_ns
        charge.start_share_ns = self._share_ns
        charge.budget_ns = renewed_ns
        allowed_ns = max(0, self._allowed_ns - self._last_ns)
        look_at_ns = now_ns + min(allowed_ns // self._watchdog.cores, MEMORY_CHECK_NS)
        if not self.armed_for_ns or look_at_ns < self.armed_for_ns:
            self._watchdog.arm(self, max(look_at_ns, now_ns + MINIMUM_WAIT_NS))

    def grant(self, charge: Charge, grant_ns: int) -> None:
        """Add to an entry's budget. A limit that has been hit stays hit."""
        if charge in self._charges and self.tripped is None:
            charge.budget_ns += grant_ns
            self._allowed_ns += grant_ns

    def extend(self, charge: Charge, grant_ns: int) -> bool:
        """Let an entry go on whose soft limit has been hit; False when there is nothing to do."""
        hit = self.tripped is Outcome.EXCEEDED_CPU and self.killed_for is None
        if not hit or charge not in self._charges:
            return False
        charge.budget_ns += grant_ns
        self._allowed_ns += grant_ns
        self.tripped = None
        return True

    def used_ns(self, charge: Charge) -> int:
        """What an open entry has used up to now, ns."""
        self._settle(self._read(exact=True))
        return self._share_ns - charge.start_share_ns

    def idle_burn_ns(self) -> int:
        """CPU burnt between invocations since the last call, ns."""
        if not self._charges:
            # Plain: one that rests has no more, and one that burns is told a tick later. An exact
            # reading of every instance that is idle would wake the scheduler for each.
            cpu_ns = self._read(exact=False)
            self.idle_ns += cpu_ns - self._last_ns
            self._last_ns = cpu_ns
        burnt, self.idle_ns = self.idle_ns, 0
        return burnt

    def kill(self, reason: Outcome) -> None:
        """End the instance; the first reason stays."""
        if self.killed_for is None:
            self.killed_for = reason
            self.tripped = self.tripped or reason
            if self._charges:
                self._settle(self._read(exact=True))
            self._sandbox.kill()
            self._on_kill()

    def check(self, now_ns: int) -> int | None:
        """Look at the account; return when to look again (ns from now), None when at rest."""
        if not self._charges or self.killed_for is not None:
            return None
        if now_ns >= self._nearest_ns:
            self._expire(now_ns)
        if self._standing and (rest_ns := self._rest()):
            return rest_ns
        cpu_ns = self._read(exact=True)
        self._courtesy.look(now_ns, cpu_ns, cpu_ns - self._last_ns)
        remaining_ns = max(self._allowed_ns, self._spared_until_ns) - cpu_ns
        if self._is_doubtful(now_ns, cpu_ns, remaining_ns):
            return RETRY_NS
        if remaining_ns <= -GRACE_NS:
            self.kill(Outcome.EXCEEDED_CPU)
            return None
        if remaining_ns <= 0:
            self.tripped = Outcome.EXCEEDED_CPU
            self._sandbox.interrupt()
            return RETRY_NS
        if self._has_outgrown(cpu_ns):
            self.kill(Outcome.EXCEEDED_MEMORY)
            return None
        nearest_ns = self._nearest_ns - now_ns
        wait_ns = min(remaining_ns // self._watchdog.cores, nearest_ns, MEMORY_CHECK_NS)
        return max(MINIMUM_WAIT_NS, wait_ns)

    def _is_doubtful(self, now_ns: int, cpu_ns: int, remaining_ns: int) -> bool:
        """A limit seems hit, and it is being asked whether the machine stood still."""
        if remaining_ns > min(CLOSE_NS, (self._allowed_ns - self._last_ns) // 2):
            self._doubt.settle()
        elif remaining_ns > 0:
            self._doubt.rise(cpu_ns)
        else:
            return self.tripped is None and self._doubt.holds(now_ns, cpu_ns)
        return False

    def _on_answer(self, was_stolen: bool) -> None:
        """Whether time was taken from the process, which is being run again.

        Its clock stands still until as much has passed as it shows too much. Who had nearly done
        is through by then; who goes on burning is told a moment later.
        """
        if self._charges and self.tripped is None:
            if was_stolen:
                self._spared_until_ns = self._read(exact=False) + SPARED_NS
                self._doubt.settle()
            self._watchdog.arm(self, time.monotonic_ns())

    def _has_outgrown(self, cpu_ns: int) -> bool:
        """Whether it has more memory than it may; one that has not run since has no more."""
        if cpu_ns == self._weighed_at_ns:
            return False
        self._weighed_at_ns = cpu_ns
        try:
            return self._sandbox.rss_bytes() > self._memory_bytes
        except ProcessLookupError:
            return False

    def _expire(self, now_ns: int) -> None:
        self._make_good()
        for charge in [c for c in self._charges if c.deadline_ns <= now_ns and not c.expired]:
            charge.expired = True
            charge.on_expired()
        self._nearest_ns = min(
            (c.deadline_ns for c in self._charges if not c.expired), default=NEVER_NS
        )

    def _make_good(self) -> None:
        """Have no wall time include what the process waited for a core because it gives way.

        Who burns would otherwise be told that it took too long, where it was not let run.
        """
        held_up_ns = self._courtesy.held_up_ns()
        if held_up_ns < SHORTEST_HELD_UP_NS:
            return
        for charge in self._charges:
            if charge.deadline_ns != NEVER_NS:
                more_ns = min(held_up_ns, charge.held_up_ns)
                charge.held_up_ns -= more_ns
                charge.deadline_ns += more_ns

    def set_deadline(self, charge: Charge, deadline_ns: int | None) -> None:
        """Let an entry last until another time (monotonic); None: it stands open, and may rest."""
        standing = deadline_ns is None and charge in self._charges
        self._standing += standing - charge.standing
        charge.standing = standing
        charge.deadline_ns = NEVER_NS if deadline_ns is None else deadline_ns
        self._nearest_ns = min(self._nearest_ns, charge.deadline_ns)

    def put_off(self, late_ns: int) -> None:
        """Let every entry last so much longer."""
        for charge in self._charges:
            if charge.deadline_ns != NEVER_NS:
                charge.deadline_ns += late_ns

    def _rest(self) -> int:
        """How long a process that only stands open and has not run needs no look; 0: it has run.

        Such a process costs a reading that does not disturb it, and few of them. What wakes it is
        mostly a message, which is told here; what it does on its own is seen a little later.
        """
        cpu_ns = self._read(exact=False)
        rests = self._standing == len(self._charges) and cpu_ns == self._seen_ns
        self._seen_ns = cpu_ns
        self._rest_ns = min(self._rest_ns * 2, LONGEST_REST_NS) if rests else SHORTEST_REST_NS
        return self._rest_ns if rests else 0

    def burning_ns(self) -> int:
        """CPU used since anything was last put in or taken out, ns: what one of them burns now."""
        return self._read(exact=True) - self._last_ns

    def _settle_shared(self, now_ns: int) -> None:
        """Settle among several; the caller has seen that it was not done a moment ago.

        An exact reading disturbs the process that is read, on another core, for up to a tenth of
        a millisecond; among more than two, what a plain one lacks is a small part of each share.
        """
        self._settled_at_ns = now_ns
        self._settle(self._read(exact=len(self._charges) <= 2))

    def _settle(self, cpu_ns: int) -> None:
        if not self._charges:
            return
        burnt_ns = cpu_ns - self._last_ns
        self._share_ns += burnt_ns // len(self._charges)
        self._unpaid_ns += burnt_ns
        self._last_ns = cpu_ns

    def _pay(self, most_ns: int) -> int:
        """Take what was burnt out of a budget, as far as that goes; how much it was.

        Who ends pays first: one that waits does not run out of its budget by what those burn that
        come and go meanwhile. All together pay no less for it.
        """
        paid_ns = min(most_ns, self._unpaid_ns)
        self._unpaid_ns -= paid_ns
        return paid_ns

    def _read(self, *, exact: bool) -> int:
        """Process CPU, ns. The last known figure when it is gone; any other failure kills it."""
        try:
            return max(self._sandbox.cpu_ns(exact=exact), self._last_ns)
        except ProcessLookupError:
            return self._last_ns
        except OSError:
            # A clock that cannot be read would be a limit that does not hold.
            self._sandbox.kill()
            return self._last_ns
