"""Windows and the choice of merges: pure functions, checked against their promises."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from segue import _engine

testing = _engine.testing
NOTHING_EXPIRED = -(2**63)
DAY = 100  # the width of a window, in units of the time column
INT64 = st.integers(-(2**63), 2**63 - 1)


def node(table) -> tuple[int, int]:
    return testing.window_node(table[3] // DAY, table[4] // DAY)


def table(number, size, first_time, last_time, seq=None, visible_from=NOTHING_EXPIRED, keys=(b"a", b"z")):
    low, high = seq or (number * 10, number * 10 + 9)
    return (number, size, 10, first_time, last_time, low, high, visible_from, *keys)


@st.composite
def tables(draw):
    made = []
    for number in range(1, draw(st.integers(0, 60)) + 1):
        first = draw(st.integers(-300, 3000))
        last = first + draw(st.sampled_from([0, 1, 50, 150, 2000]))
        size = draw(st.sampled_from([1, 2, 10, 100, 1000])) * draw(st.integers(1, 9))
        hidden = draw(st.sampled_from([NOTHING_EXPIRED, NOTHING_EXPIRED, first, (first + last) // 2, last]))
        key = draw(st.integers(0, 200))
        keys = (bytes([key]), bytes([min(255, key + draw(st.integers(0, 60)))]))
        made.append(table(number, size, first, last, None, hidden, keys))
    return made


@given(first=INT64, last=INT64)
def test_a_node_is_the_smallest_that_holds_both(first, last):
    level, index = testing.window_node(first, last)
    if level < 16:
        assert first >> (4 * level) == last >> (4 * level) == index
    if level > 0:
        assert first >> (4 * (level - 1)) != last >> (4 * (level - 1))


@given(
    times=st.lists(st.integers(-500, 500) | st.integers(-(10**6), 10**6) | INT64, min_size=1, max_size=300),
    width=st.integers(1, 300) | st.integers(1, 2**63 - 1),
    least=st.integers(0, 100),
    most=st.integers(1, 20),
)
@example(
    times=[2**63 - 238, -477], width=2**63 - 238, least=0, most=4
)  # the last window ends beyond the last time
def test_a_split_keeps_windows_together_and_files_large(times, width, least, most):
    files, outputs = testing.window_split(times, width, least, most)
    assert set(outputs) == set(range(files))
    assert files <= most
    windows = {}
    for time, output in zip(times, outputs, strict=True):
        assert windows.setdefault(time // width, output) == output
    sizes = [outputs.count(output) for output in range(files)]
    assert sum(size < least for size in sizes) <= 1, "only what is left over makes a small file"
    # What shares a file shares it at the lowest level where it is enough.
    for window, output in windows.items():
        rows = sum(time // width == window for time in times)
        if rows >= max(least, len(times) // max(most - 1, 1) + 1):
            assert outputs.count(output) == rows


def test_a_split_of_very_many_windows_stays_bounded():
    times = [i * 7 * DAY for i in range(200_000)]
    files, outputs = testing.window_split(times, DAY, 1000, 64)
    assert files == 64 or all(outputs.count(output) >= 1000 for output in range(files - 1))
    assert len(outputs) == len(times)


@given(tables=tables(), handoff=st.integers(0, 600))
def test_what_is_due_is_similar_and_of_one_node(tables, handoff):
    picks = testing.due_compactions(tables, DAY, handoff)
    inputs = [place for pick, _, _ in picks for place in pick]
    assert len(set(inputs)) == len(inputs), "no table is in two merges"
    for pick, size, crowded in picks:
        chosen = [tables[place] for place in pick]
        assert size == sum(t[1] for t in chosen)
        assert len({node(t) for t in chosen}) == 1
        assert len({t[6] <= handoff for t in chosen}) == 1, "taken and untaken events are not mixed"
        if len(chosen) == 1:
            first, last, until = chosen[0][3] // DAY, chosen[0][4] // DAY, chosen[0][7] // DAY
            assert 2 * (until - first) >= last - first + 1, "a rewrite frees at least half the windows"
        else:
            assert size >= (2 if crowded else 4) * max(t[1] for t in chosen)
            assert len(chosen) <= 32


def merge(tables, pick, number):
    """What merging does to the table list, if no table is split."""
    chosen = [tables[place] for place in pick]
    rest = [t for place, t in enumerate(tables) if place not in pick]
    first = min(max(t[3], t[7]) for t in chosen)
    last = max(t[4] for t in chosen)
    keys = (min(t[8] for t in chosen), max(t[9] for t in chosen))
    seq = (min(t[5] for t in chosen), max(t[6] for t in chosen))
    if first > last:
        return rest
    return [*rest, table(number, sum(t[1] for t in chosen), first, last, seq, NOTHING_EXPIRED, keys)]


@given(tables=tables(), handoff=st.integers(0, 600))
def test_merging_what_is_due_comes_to_an_end(tables, handoff):
    steps = 0
    while picks := testing.due_compactions(tables, DAY, handoff):
        tables = merge(tables, picks[0][0], 1000 + steps)
        steps += 1
        assert steps <= 200
    by_node: dict = {}
    for t in tables:
        by_node.setdefault((node(t), t[6] <= handoff), []).append(t)
    assert all(len(group) <= 64 for group in by_node.values())


@given(tables=tables(), upto=st.integers(0, 700))
def test_merging_everything_leaves_a_table_a_node(tables, upto):
    steps = 0
    while picks := testing.all_compactions(tables, DAY, upto):
        tables = merge(tables, picks[0][0], 1000 + steps)
        steps += 1
        assert steps <= 200
    old = [t for t in tables if t[5] <= upto]
    assert all(t[7] <= t[3] for t in old), "no expired row is left"
    assert len({node(t) for t in old}) == len(old)


def test_a_large_table_and_its_continuation_are_done():
    large = [
        table(n, 100, 0, 0, keys=keys) for n, keys in enumerate([(b"a", b"c"), (b"d", b"f"), (b"g", b"h")], 1)
    ]
    many = [(*t[:2], 10_000_000, *t[3:]) for t in large[:2]]
    assert testing.all_compactions([*many, large[2]], DAY, 99) == []
    assert testing.all_compactions([many[0], *large[1:]], DAY, 99) != []
    assert testing.all_compactions([*many, table(3, 100, 0, 0, keys=(b"f", b"h"))], DAY, 99) != []


@settings(max_examples=30)
@given(sizes=st.lists(st.integers(90, 110), min_size=300, max_size=600), lull=st.integers(0, 3))
def test_a_busy_window_is_written_about_twice(sizes, lull):
    # One window takes a flush after the other; then others come and it is left alone.
    tables, written, number = [], 0, 0
    for size in [*sizes, *[100] * 12]:
        number += 1
        late = number > len(sizes)
        first = 5000 + number if late else 0
        tables.append(table(number, size, first, first))
        while picks := testing.due_compactions(tables, DAY, 0):
            written += picks[0][1]
            number += 1
            tables = merge(tables, picks[0][0], number)
    assert written <= 2.5 * sum(sizes)
    assert sum(node(t) == (0, 0) for t in tables) <= 12


@given(tables=tables())
def test_the_most_tables_of_a_window(tables):
    windows = {w for t in tables for w in range(t[3] // DAY, t[4] // DAY + 1)}
    expected = max((sum(t[3] // DAY <= w <= t[4] // DAY for t in tables) for w in windows), default=0)
    assert testing.most_tables_of_a_window(tables, DAY) == expected


def full(number, keys, size=100):
    """A table of as many keys as one may have: other tables continue it."""
    made = table(number, size, 0, 0, keys=keys)
    return (*made[:2], 10_000_000, *made[3:])


def test_tables_that_continue_each_other_are_not_similar_to_each_other():
    chain = [full(n, (bytes([10 * n]), bytes([10 * n + 9])), 1000) for n in range(1, 9)]
    rest = table(9, 300, 0, 0, keys=(bytes([90]), bytes([99])))
    newest = [table(100 + n, 1, 50 * DAY, 50 * DAY, (10_000 + n, 10_000 + n)) for n in range(8)]  # elsewhere
    settled = [*chain, rest, *newest]
    inputs = {i for chosen, *_ in testing.due_compactions(settled, DAY, 0) for i in chosen}
    assert not inputs & set(range(9)), "merging them gives the same tables again"
    # Late events are merged among themselves until they are a share of the whole.
    late = [table(20 + n, 100, 0, 0) for n in range(5)]
    inputs = {i for chosen, *_ in testing.due_compactions([*settled, *late], DAY, 0) for i in chosen}
    assert inputs
    assert not inputs & set(range(8))
    large = [table(30 + n, 5000, 0, 0) for n in range(5)]
    inputs = {i for chosen, *_ in testing.due_compactions([*settled, *large], DAY, 0) for i in chosen}
    assert inputs >= set(range(9)), "all together are four times the 8,000 of the chain"


def test_full_tables_of_the_same_keys_are_merged():
    copies = [full(n, (b"a", b"z")) for n in range(1, 18)]
    (pick, *_) = testing.due_compactions(copies, DAY, 0)
    assert len(pick[0]) >= 16


def test_a_crowded_window_goes_first():
    few = [table(n, 10, 0, 0) for n in range(1, 41)]
    many = [table(n, 10_000, 50 * DAY, 50 * DAY) for n in range(100, 170)]
    picks = testing.due_compactions([*few, *many], DAY, 0)
    assert len(picks) == 2
    assert set(picks[0][0]) <= set(range(40, 110))


def test_late_events_leave_the_table_of_a_settled_window_alone():
    settled = table(1, 10_000, 0, 0)
    newest = [table(100 + n, 1, 50 * DAY, 50 * DAY, (10_000 + n, 10_000 + n)) for n in range(8)]
    late = [table(20 + n, 100, 0, 0) for n in range(30)]
    for arrived in range(len(late)):
        picks = testing.due_compactions([settled, *newest, *late[:arrived]], DAY, 0)
        assert all(0 not in chosen for chosen, *_ in picks)
