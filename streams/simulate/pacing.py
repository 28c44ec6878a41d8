"""When an account asks and how its exchanges fall into conversations; nothing here knows what is asked.

Every function takes its own randomness, a number of exchanges and a window of event time, and
returns the exchanges in event-time order with the conversation each belongs to. The shapes follow
published traces of language-model services: bursts within sessions, long-tailed pauses, days and
weeks (inter-arrival CV of single clients around 1 to 10).
"""

import random
from array import array
from typing import NamedTuple

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS


class Timeline(NamedTuple):
    """Exchanges of one account.

    Attributes
    ----------
    times : array of int
        Event times, ascending. Milliseconds since the Unix epoch.
    conversations : array of int
        Conversation of each exchange, numbered from 0 as they begin.
    turns : array of int
        Exchanges of each conversation.
    """

    times: "array[int]"
    conversations: "array[int]"
    turns: "array[int]"


class Window(NamedTuple):
    """Event time in which an account is active, milliseconds: from `start`, before `end`."""

    start: int
    end: int


def active_window(rng: random.Random, whole: Window, turnover: float) -> Window:
    """The part of the whole time in which an account is active: some come late, some leave early."""
    start, end = whole
    if rng.random() < turnover:
        cut = start + int((end - start) * rng.random() * 0.8)
        if rng.random() < 0.6:
            start = cut
        else:
            end = max(cut, start + (end - start) // 5)
    return Window(start, end)


def _turns(rng: random.Random, left: int, mean: float) -> int:
    """Exchanges of a conversation, geometric with the given mean, at most `left`."""
    turns = 1
    stop = 1.0 / mean
    while turns < left and rng.random() > stop:
        turns += 1
    return turns


def _in_order(stamped: list[tuple[int, int]], window: Window) -> Timeline:
    """Timeline of (time, conversation) pairs in any order."""
    stamped.sort()
    times, conversations, turns = array("q"), array("l"), array("l")
    numbers: dict[int, int] = {}
    last = window.end - 1
    for time, conversation in stamped:
        number = numbers.setdefault(conversation, len(numbers))
        if number == len(turns):
            turns.append(0)
        turns[number] += 1
        times.append(min(max(time, window.start), last))
        conversations.append(number)
    return Timeline(times, conversations, turns)


def like_a_person(rng: random.Random, count: int, window: Window) -> Timeline:
    """Sessions by day and hour, with pauses to read and think.

    Parameters
    ----------
    rng : random.Random
        The account's randomness for metadata.
    count : int
        Exchanges.
    window : Window
        When it is active.
    """
    gauss, uniform = rng.gauss, rng.random
    zone = int(rng.triangular(-8, 9, 1)) * _HOUR_MS
    peaks = (gauss(10.5, 2.0), gauss(20.0, 2.0))
    evening = uniform()
    weekend = rng.choice((0.1, 0.4, 0.8, 1.0, 1.5))
    session_size = rng.lognormvariate(1.7, 0.5)
    mean_turns = 1.0 + rng.lognormvariate(0.3, 0.6)
    think_mu = gauss(3.9, 0.4)  # e^3.9 s is about 50 s between turns
    think_sigma = 0.7 + 0.6 * uniform()
    stamped: list[tuple[int, int]] = []
    conversation = 0
    span = window.end - window.start
    while len(stamped) < count:
        size = max(1, min(count - len(stamped), round(rng.lognormvariate(0, 0.7) * session_size)))
        at = _session_start(rng, window, zone, peaks, evening, weekend)
        session: list[tuple[int, int]] = []
        while len(session) < size:
            for _ in range(_turns(rng, size - len(session), mean_turns)):
                session.append((at, conversation))
                at += int(1000 * rng.lognormvariate(think_mu, think_sigma))
            conversation += 1
            at += int(1000 * rng.lognormvariate(5.0, 1.0))
        over = session[-1][0] - (window.end - 1)
        if over > 0:
            # A session that would run over the end began earlier; one longer than the window is squeezed.
            first, length = session[0][0], session[-1][0] - session[0][0]
            if length >= span:
                session = [(window.start + (t - first) * (span - 1) // length, c) for t, c in session]
            else:
                session = [(t - over, c) for t, c in session]
        stamped.extend(session)
    return _in_order(stamped, window)


def _session_start(
    rng: random.Random,
    window: Window,
    zone: int,
    peaks: tuple[float, float],
    evening: float,
    weekend: float,
) -> int:
    start = window.start
    for _ in range(8):
        day = int(window.start + rng.random() * (window.end - window.start)) // _DAY_MS
        hour = rng.gauss(peaks[rng.random() < evening], 1.5)
        start = day * _DAY_MS + int(hour * _HOUR_MS) - zone
        # The epoch's day 0 was a Thursday, so days 2 and 3 of each seven are the weekend.
        likely = weekend if (start // _DAY_MS) % 7 in (2, 3) else 1.0
        if window.start <= start < window.end and rng.random() * 1.5 < likely:
            return start
    # Windows shorter than a day may miss the hours somebody prefers.
    return int(window.start + rng.random() * (window.end - window.start))


def like_an_application(rng: random.Random, count: int, window: Window) -> Timeline:
    """A firm's own users, by day and hour or around the clock, sometimes in talks of several turns."""
    zone = int(rng.triangular(-8, 9, 1)) * _HOUR_MS
    centre, width = rng.gauss(13, 1.5), rng.choice((2.5, 3.5, 5.0, 12.0))
    weekend = rng.choice((0.0, 0.3, 1.0, 1.0))
    mean_turns = rng.choice((1.0, 1.0, 1.0, 1.0, 2.0, 4.0))
    think_mu = rng.gauss(3.5, 0.3)
    bursty = rng.choice((0.0, 0.0, 0.2, 0.5))
    stamped: list[tuple[int, int]] = []
    conversation = 0
    at = window.start
    while len(stamped) < count:
        if not stamped or rng.random() >= bursty:
            at = _session_start(rng, window, zone, (centre, centre + rng.gauss(0, width)), 0.8, weekend)
        else:
            at += int(1000 * rng.lognormvariate(1.0, 1.0))
        then = at
        for _ in range(1 if mean_turns == 1.0 else _turns(rng, count - len(stamped), mean_turns)):
            stamped.append((then, conversation))
            then += int(1000 * rng.lognormvariate(think_mu, 0.9))
        conversation += 1
    return _in_order(stamped, window)


def like_a_job(rng: random.Random, count: int, window: Window) -> Timeline:
    """Runs at machine pace, some steady, some jagged, some with several requests at a time."""
    runs = min(count, rng.choice((1, 1, 2, 3, 5, 8)))
    pause_mu = rng.gauss(1.2, 0.9)  # e^1.2 s is about 3 s, the length of an answer
    pause_sigma = rng.choice((0.1, 0.3, 0.6, 1.0))
    abreast = rng.choice((1, 1, 1, 4, 8))
    return _runs(rng, count, window, runs, pause_mu, pause_sigma, abreast)


def like_a_harvest(rng: random.Random, count: int, window: Window) -> Timeline:
    """Scripts that ask one thing after the other: in runs, or around the clock at an even pace."""
    if rng.random() < 0.4:
        step = (window.end - window.start) / count
        jitter = rng.choice((0.02, 0.2, 0.5))
        stamped = [
            (int(window.start + step * (at + jitter * rng.random())), at) for at in range(count)
        ]  # one exchange, one conversation
        return _in_order(stamped, window)
    runs = min(count, rng.choice((1, 2, 4, 7)))
    return _runs(rng, count, window, runs, rng.gauss(1.6, 0.7), rng.choice((0.05, 0.2, 0.5)), 1)


def _runs(
    rng: random.Random,
    count: int,
    window: Window,
    runs: int,
    pause_mu: float,
    pause_sigma: float,
    abreast: int,
) -> Timeline:
    span = window.end - window.start
    stamped: list[tuple[int, int]] = []
    for run in range(runs):
        size = count // runs + (run < count % runs)
        pauses = [int(1000 * rng.lognormvariate(pause_mu, pause_sigma)) for _ in range(size // abreast + 1)]
        at = window.start + int(rng.random() * max(1, span - min(span, sum(pauses))))
        for item in range(size):
            stamped.append((at + item % abreast * 37, len(stamped)))
            if item % abreast == abreast - 1:
                at += pauses[item // abreast]
    return _in_order(stamped, window)


def like_an_agent(rng: random.Random, count: int, window: Window) -> Timeline:
    """Working hours of a developer, in sessions of many quick steps."""
    zone = int(rng.triangular(-8, 9, 1)) * _HOUR_MS
    peaks = (rng.gauss(10.5, 1.0), rng.gauss(15.5, 1.5))
    weekend = rng.choice((0.0, 0.2, 1.0))
    step_mu = rng.gauss(2.4, 0.4)  # e^2.4 s is about 11 s: an answer and a tool
    mean_steps = rng.lognormvariate(2.6, 0.5) + 2
    stamped: list[tuple[int, int]] = []
    session = 0
    while len(stamped) < count:
        at = _session_start(rng, window, zone, peaks, 0.5, weekend)
        for _ in range(_turns(rng, count - len(stamped), mean_steps)):
            stamped.append((at, session))
            waits = rng.random() < 0.08  # a person reads and decides
            at += int(1000 * rng.lognormvariate(4.6 if waits else step_mu, 0.6))
        session += 1
    return _in_order(stamped, window)
