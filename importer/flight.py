"""How many requests may be under way at once: as many as the platform bears, never more than the caller allows.

Floor: pure. Additive increase, multiplicative decrease: what comes back in good time lets one more go per round, a
refusal for load or slowness takes some away, once for all requests that were under way at that moment. What was refused
is come back to by halves, and gone beyond ever more rarely, for a few seconds at most, in trials that double while they
succeed. A newcomer may question that slowness is measured against the best answers seen: a platform that queues shows
it in nothing else. A few answers unlike the others, slow or quick, say nothing.
"""

from __future__ import annotations

FEW = 4  # where no more are allowed, waiting after each refusal is enough
FIRST = 8  # to begin with, once a first request was answered
CUT = 0.85
DEEP_CUT = 0.5  # when nothing came through since the last cut, or while the number still doubles
SLOW = 3.0  # times the best answer: the platform queues what it gets
LONGISH = 2.0
FORGETTING = 8  # answers that make the usual one
RUN = 32  # answers, of which the middle one may be the best: many quick ones in turn are none by chance
SLACK_S = 0.05  # differences below this say more about this machine than about the platform
RELEARNING = 0.2  # how fast the best answer drifts towards the present ones while a request is alone: none waits then
CALM_ROUNDS = 5
MOST_PATIENCE_ROUNDS = 32
PATIENCE_S = 4.0


class Flight:
    """The number allowed. `begin` gives a ticket for each request, `end` takes it back with what came of it.

    **Units**: seconds. **Law** `test_the_number_in_flight_finds_a_hidden_capacity`.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._allowed = float(min(most, FIRST))
        self._is_doubling = True  # until the first sign of load
        self._tickets = 0
        self._cut_at = 0  # outcomes of requests begun before say nothing new
        self._grown_at = 0
        self._calm_rounds = 0
        self._came_through = True
        self._best_s = 0.0
        self._run_s: list[float] = []
        self._is_learnt = False  # from a whole run
        self._usual_s = 0.0
        self._ceiling = most  # one less than was refused
        self._patience_rounds = 1.0  # how long to stay there
        self._stride = 1  # of the next trial
        self._is_refused = False  # what was cut last, was refused, not slow

    @property
    def allowed(self) -> int:
        """How many may be under way now: at least one."""
        return int(self._allowed)

    def begin(self) -> int:
        """Counts a request that goes out."""
        self._tickets += 1
        return self._tickets

    def end(self, ticket: int, elapsed_s: float, *, is_overload: bool) -> None:
        """Learns from a request that came back; `is_overload` means that it was refused for load."""
        if is_overload:
            self._note_refusal(ticket)
            self._cut(ticket, CUT if self._came_through and not self._is_doubling else DEEP_CUT, is_refusal=True)
            return
        self._came_through = True
        best_s = self._best_of(elapsed_s)
        if self._usual_of(ticket, elapsed_s, best_s) > max(SLOW * best_s, best_s + SLACK_S):
            self._cut(ticket, CUT, is_refusal=False)
        elif elapsed_s <= max(LONGISH * best_s, best_s + SLACK_S):
            self._grow(ticket)

    def _best_of(self, elapsed_s: float) -> float:
        """How long an answer takes where nothing waits: the middle one of the best run of answers, or of the first few.

        One quick answer says little, such as a refusal that needed no work, or a repeat that was known.
        """
        if self._is_learnt and self.allowed == 1:
            self._best_s += (elapsed_s - self._best_s) * RELEARNING
            return self._best_s
        self._run_s.append(elapsed_s)
        if not self._is_learnt or len(self._run_s) == RUN:
            middle_s = sorted(self._run_s)[len(self._run_s) // 2]
            self._best_s = min(self._best_s, middle_s) if self._is_learnt else middle_s
        if len(self._run_s) == RUN:
            self._is_learnt = True
            self._run_s.clear()
        return self._best_s

    def _usual_of(self, ticket: int, elapsed_s: float, best_s: float) -> float:
        """How long answers take now: a mean of the last ones that were begun since the last cut.

        None counts for more than so much, so that it takes four very slow ones in turn: every platform has a few.
        """
        if ticket > self._cut_at:
            most_s = 2 * max(SLOW * best_s, best_s + SLACK_S)
            self._usual_s += (min(elapsed_s, most_s) - self._usual_s) / FORGETTING
        return self._usual_s

    def _note_refusal(self, ticket: int) -> None:
        """Stays below what was refused: for longer, if that was a trial."""
        if ticket > self._cut_at:
            most = max(1.0, min(MOST_PATIENCE_ROUNDS, PATIENCE_S / (self._best_s or PATIENCE_S)))
            self._patience_rounds = min(most, self._patience_rounds * 2) if self._stride > 1 else 1.0
            self._stride = 1
            self._ceiling = max(1, self.allowed - 1)

    def _cut(self, ticket: int, factor: float, *, is_refusal: bool) -> None:
        if ticket <= self._cut_at or self._most <= FEW:
            return
        self._is_refused = is_refusal
        self._usual_s = self._best_s
        self._allowed = max(1.0, min(self._allowed * factor, self._allowed - 1))
        self._cut_at = self._grown_at = self._tickets
        self._calm_rounds = 0
        self._is_doubling = self._came_through = False

    def _grow(self, ticket: int) -> None:
        """One more a round up to what was refused; beyond it in trials, each twice the last while none is refused."""
        if ticket > self._grown_at:
            self._grown_at = self._tickets
            self._calm_rounds += 1
        if self.allowed < self._ceiling:
            step = 1.0 if self._is_doubling else self._step() / self._allowed
            self._allowed = min(self._allowed + step, float(self._ceiling))
        elif self._ceiling < self._most and self._calm_rounds > (self._patience_rounds if self._stride == 1 else 0):
            self._ceiling = min(self._most, self._ceiling + self._stride)
            self._patience_rounds = self._patience_rounds if self._stride == 1 else 1.0
            self._stride *= 2
            self._calm_rounds = 0

    def _step(self) -> float:
        """How many more a round: half the way back to what was refused, the whole of a trial, else one, then more."""
        back = (self._ceiling - self._allowed) / 2 if self._is_refused and self._stride == 1 else self._stride / 2
        return max(1.0, back, self._calm_rounds - CALM_ROUNDS)
