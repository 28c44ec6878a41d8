"""The watermark: whom it waits for, whom it does not, and that it never goes back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.batches import Progress
from streams.ordering import Watermark

NEVER = -(1 << 62)
IDLE_MS, SILENT_S = 1000, 60.0


def watermark(started_s=0.0):
    return Watermark(idle_ms=IDLE_MS, silent_s=SILENT_S, started_s=started_s)


def after(words, *, partitions=2, newest_ms=None, now_s=100.0):
    """Value after some words of (partition, low mark, idle time), all heard just now."""
    mark = watermark(started_s=now_s)
    mark.hear(partitions, [Progress(number, 1, low, idle) for number, low, idle in words], now_s)
    mark.advance(None, now_s)
    return mark.advance(newest_ms, now_s + 2)  # two seconds later nothing settles any more


@pytest.mark.parametrize(
    ("words", "newest_ms", "expected", "why"),
    [
        ([], None, NEVER, "nothing was heard"),
        ([(0, 500, 0)], 900, NEVER, "the other source has yet to promise something"),
        ([(0, 500, 0), (1, 300, 0)], 900, 300, "the least promise counts"),
        ([(0, 500, 0), (1, 300, IDLE_MS)], 900, 500, "an idle source does not"),
        ([(0, 500, 0), (1, 300, IDLE_MS - 1)], 900, 300, "one that is nearly idle does"),
        ([(0, 500, 0), (1, NEVER, IDLE_MS)], 900, 500, "an idle source that never had anything does not"),
        ([(0, 500, IDLE_MS), (1, 300, IDLE_MS)], 900, 901, "all are idle, so all that waits may go"),
        ([(0, 500, IDLE_MS), (1, 300, IDLE_MS)], None, NEVER, "all are idle and nothing waits"),
    ],
)
def test_whom_it_waits_for(words, newest_ms, expected, why):
    assert after(words, newest_ms=newest_ms) == expected, why


@pytest.mark.parametrize(
    ("now_s", "expected", "silent"),
    [(59.9, NEVER, []), (60.0, 500, [1]), (119.9, 500, [1])],
)
def test_a_source_never_heard_of_is_waited_for_until_it_counts_as_silent(now_s, expected, silent):
    mark = watermark()
    mark.hear(2, [Progress(0, 1, 500, 0)], 0.0)
    mark.advance(None, 0.0)
    mark.hear(2, [Progress(0, 2, 500, 0)], now_s)
    assert mark.advance(900, now_s) == expected
    assert mark.silent(now_s) == silent


def test_idle_sources_are_not_silent():
    mark = watermark()
    mark.hear(2, [Progress(0, 1, 1, IDLE_MS), Progress(1, 1, 1, 0)], 0.0)
    assert mark.silent(1000.0) == [1]


def test_a_silent_source_that_speaks_is_waited_for_again():
    mark = watermark()
    mark.hear(2, [Progress(0, 1, 500, 0), Progress(1, 1, 100, 0)], 0.0)
    mark.advance(None, 0.0)
    mark.hear(2, [Progress(0, 2, 600, 0)], 70.0)
    assert mark.advance(None, 70.0) == 600
    mark.hear(2, [Progress(0, 3, 900, 0), Progress(1, 2, 650, 0)], 71.0)
    assert mark.advance(None, 71.0) == 650
    assert mark.silent(71.0) == []


def test_all_silent_means_nothing_is_waited_for():
    mark = watermark()
    mark.hear(1, [Progress(0, 1, 500, 0)], 0.0)
    assert mark.advance(800, 0.0) == 500
    assert mark.advance(800, 60.0) == 801


class TestWaking:
    """After everything was idle, what others said of being idle may be old news."""

    def asleep(self):
        mark = watermark()
        idle = [Progress(0, 1, 500, IDLE_MS), Progress(1, 1, 300, IDLE_MS)]
        mark.hear(2, idle, 10.0)
        assert mark.advance(500, 10.0) == 501
        return mark

    def test_others_are_waited_for_at_first(self):
        mark = self.asleep()
        mark.hear(2, [Progress(0, 2, 2000, 0)], 11.0)
        assert mark.advance(2100, 11.0) == 501
        assert mark.advance(2100, 11.9) == 501

    def test_and_not_for_ever(self):
        mark = self.asleep()
        mark.hear(2, [Progress(0, 2, 2000, 0)], 11.0)
        mark.advance(2100, 11.0)
        assert mark.advance(2100, 12.0) == 2000

    def test_the_other_one_that_woke_too_is_in_order(self):
        mark = self.asleep()
        mark.hear(2, [Progress(0, 2, 2000, 0)], 11.0)
        mark.advance(2100, 11.0)
        mark.hear(2, [Progress(1, 2, 1500, 0)], 11.5)
        assert mark.advance(2100, 11.5) == 1500

    def test_going_to_sleep_again_releases_at_once(self):
        mark = self.asleep()
        mark.hear(2, [Progress(0, 2, 2000, 0)], 11.0)
        mark.advance(2100, 11.0)
        mark.hear(2, [Progress(0, 2, 2000, IDLE_MS)], 11.5)
        assert mark.advance(2100, 11.5) == 2101

    def test_a_source_that_kept_moving_is_no_waking(self):
        mark = watermark()
        mark.hear(2, [Progress(0, 1, 500, 0), Progress(1, 1, 300, IDLE_MS)], 10.0)
        mark.advance(None, 10.0)
        assert mark.advance(None, 11.0) == 500
        mark.hear(2, [Progress(0, 2, 700, 0)], 11.1)
        assert mark.advance(None, 11.1) == 700


def test_older_words_are_ignored_and_equal_ones_renew():
    mark = watermark()
    mark.hear(1, [Progress(0, 10, 500, 0)], 1.0)
    mark.hear(1, [Progress(0, 9, 900, IDLE_MS)], 2.0)
    assert mark.snapshot()[1:] == [[0, 10, 500, 0]]
    mark.hear(1, [Progress(0, 10, 400, IDLE_MS)], 3.0)
    assert mark.snapshot()[1:] == [[0, 10, 500, IDLE_MS]]


def test_a_source_beyond_the_count_does_not_hide_the_others():
    mark = watermark()
    mark.hear(1, [Progress(3, 5, 700, 0)], 0.0)
    mark.hear(4, [], 0.0)
    assert sorted(mark.snapshot()[1:]) == [
        [0, 0, NEVER, 0],
        [1, 0, NEVER, 0],
        [2, 0, NEVER, 0],
        [3, 5, 700, 0],
    ]


def test_a_restored_watermark_goes_on():
    mark = watermark()
    mark.hear(2, [Progress(0, 1, 500, 0), Progress(1, 4, 300, 0)], 5.0)
    mark.advance(None, 5.0)
    heir = watermark(started_s=1000.0)
    heir.restore(mark.snapshot(), 1000.0)
    assert heir.snapshot() == mark.snapshot()
    assert heir.value == 300
    assert heir.silent(1059.0) == []  # time counts from when the new owner came
    heir.hear(2, [Progress(1, 5, 450, 0)], 1001.0)
    assert heir.advance(None, 1001.0) == 450


words = st.builds(
    Progress,
    st.integers(0, 3),
    st.integers(0, 9),
    st.integers(-100, 100),
    st.sampled_from([0, 500, 1000, 5000]),
)
steps = st.lists(
    st.tuples(
        st.integers(1, 4),
        st.lists(words, max_size=3),
        st.sampled_from([0.0, 0.5, 1.0, 70.0]),
        st.one_of(st.none(), st.integers(-100, 100)),
    ),
    max_size=30,
)


@given(steps=steps)
def test_never_goes_back_and_goes_on_from_a_snapshot(steps):
    mark, now_s = watermark(), 0.0
    for partitions, said, passed_s, newest_ms in steps:
        now_s += passed_s
        before = mark.value
        mark.hear(partitions, said, now_s)
        value = mark.advance(newest_ms, now_s)
        assert value == mark.value >= before
        heir = watermark(now_s)
        heir.restore(mark.snapshot(), now_s)
        assert heir.snapshot() == mark.snapshot()
