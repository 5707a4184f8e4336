"""Mixing: the ratio holds at every prefix, nothing but the asked-for repeats, the same seed gives the same order."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncabel.errors import ConfigError
from syncabel.mixing import Side, bucketed, concatenated, mix, parse_ratio

SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=30)


def side(name: str, loss: list[int], dropped: int = 0) -> Side:
    tokens = np.array(loss, np.int64)
    return Side(name, tokens, tokens + 30, len(loss), dropped)


@settings(max_examples=60, deadline=None)
@given(SIZES, SIZES, st.sampled_from(["1:1", "1:9", "3:1", "0.2:1"]), st.integers(0, 5))
def test_at_any_prefix_the_ratio_is_off_by_at_most_one_item(human: list[int], synthetic: list[int], ratio: str, seed: int) -> None:
    sides = [side("human", human), side("synthetic", synthetic)]
    weights = parse_ratio(ratio, ["human", "synthetic"])
    mixture = mix(sides, weights, items=300, max_repeats=1000, seed=seed)
    loss = np.concatenate([human, synthetic])[mixture.order]
    share = weights["human"] / sum(weights.values())
    off = np.cumsum(np.where(mixture.side == 0, loss, 0)) - share * np.cumsum(loss)
    assert np.abs(off).max() <= max(*human, *synthetic)


@settings(max_examples=60, deadline=None)
@given(SIZES, SIZES, SIZES, st.sampled_from(["1:1:1", "1:9:2", "0.2:1:3"]), st.integers(0, 5))
def test_at_any_prefix_of_three_sources_each_is_off_by_at_most_one_item_per_source(
    human: list[int], synthetic: list[int], names: list[int], ratio: str, seed: int
) -> None:
    losses = {"human": human, "synthetic": synthetic, "names": names}
    weights = parse_ratio(ratio, list(losses))
    mixture = mix([side(name, loss) for name, loss in losses.items()], weights, items=300, max_repeats=1000, seed=seed)
    loss = np.concatenate(list(losses.values()))[mixture.order]
    for k, (name, own) in enumerate(losses.items()):
        over = np.cumsum(np.where(mixture.side == k, loss, 0)) - weights[name] / sum(weights.values()) * np.cumsum(loss)
        assert over.max() <= max(own) + 1e-6
        assert -over.min() <= sum(max(others) for other, others in losses.items() if other != name) + 1e-6


def one_by_one(
    losses: list[list[int]], shares: list[float], epochs: float, items: int | None, multiple: int, max_repeats: int, seed: int
) -> list[tuple[int, int]]:
    """The mix as it was first written, a pair of side and item at a time: the oracle of the one over arrays."""
    drawn, turns, given_, total, order = [0] * len(losses), [np.empty(0, int)] * len(losses), [0] * len(losses), 0, list[tuple[int, int]]()
    while not (
        len(order) >= items
        if items is not None
        else len(order) % multiple == 0 and all(n >= math.ceil(epochs * len(t)) for n, t in zip(drawn, losses, strict=True))
    ):
        k = max(range(len(losses)), key=lambda k: shares[k] * total - given_[k])
        if len(losses) > 1 and drawn[k] >= max_repeats * len(losses[k]):
            return order[: len(order) // multiple * multiple]
        if drawn[k] % len(losses[k]) == 0:
            turns[k] = np.random.default_rng((seed, k, drawn[k] // len(losses[k]))).permutation(len(losses[k]))
        item = int(turns[k][drawn[k] % len(losses[k])])
        drawn[k] += 1
        order.append((k, item))
        given_[k] += losses[k][item]
        total += losses[k][item]
    return order


@settings(max_examples=80, deadline=None)
@given(
    st.lists(SIZES, min_size=1, max_size=3),
    st.sampled_from([0.5, 1.0, 2.5]),
    st.sampled_from([None, 1, 64]),
    st.sampled_from([1, 4, 7]),
    st.sampled_from([2, 1000]),
    st.integers(0, 3),
)
def test_the_order_is_that_of_drawing_one_item_at_a_time(
    losses: list[list[int]], epochs: float, items: int | None, multiple: int, max_repeats: int, seed: int
) -> None:
    sides = [side(str(k), loss) for k, loss in enumerate(losses)]
    shares = [(k + 1) / sum(range(1, len(losses) + 1)) for k in range(len(losses))]
    expected = one_by_one(losses, shares, epochs, items, multiple, max_repeats, seed)
    ratio = {str(k): float(k + 1) for k in range(len(losses))}
    try:
        mixture = mix(sides, ratio, items=items, epochs=epochs, multiple=multiple, max_repeats=max_repeats, seed=seed)
    except ConfigError:
        assert items is not None
        assert len(expected) < items
        return
    starts = np.cumsum([0, *map(len, losses)])
    assert mixture.side.tolist() == [k for k, _ in expected]
    assert mixture.order.tolist() == [starts[k] + item for k, item in expected]


@settings(max_examples=60, deadline=None)
@given(SIZES, SIZES, st.integers(1, 3), st.integers(1, 7), st.integers(0, 3))
def test_concatenated_shows_each_item_exactly_once_an_epoch(human: list[int], synthetic: list[int], epochs: int, multiple: int, seed: int) -> None:
    sides = [side("human", human), side("synthetic", synthetic)]
    mixture = concatenated(sides, epochs=epochs, multiple=multiple, seed=seed)
    size = len(human) + len(synthetic)
    assert len(mixture.order) % multiple == 0
    assert 0 <= len(mixture.order) - epochs * size < multiple
    for epoch in range(epochs):
        assert sorted(mixture.order[epoch * size : (epoch + 1) * size]) == list(range(size))
    assert (mixture.side == (mixture.order >= len(human))).all()
    assert (mixture.order == concatenated(sides, epochs=epochs, multiple=multiple, seed=seed).order).all()


def test_concatenated_mixes_the_sources_and_not_only_each_by_itself() -> None:
    mixture = concatenated([side("human", [1] * 300), side("synthetic", [9] * 700)], epochs=1)
    assert 200 < (mixture.side[:700] == 0).sum() < 220
    assert [round(row.share, 3) for row in mixture.report.sides] == [round(row.wanted, 3) for row in mixture.report.sides] == [0.045, 0.955]


def test_concatenated_keeps_the_cap_on_repeats() -> None:
    sides = [side("human", [5] * 4), side("synthetic", [5] * 6)]
    mixture = concatenated(sides, epochs=9, multiple=8, max_repeats=3)
    assert len(mixture.order) == 24
    assert "stopped by max_repeats=3" in str(mixture.report)
    with pytest.raises(ConfigError, match="more than max_repeats=3 times"):
        concatenated(sides, items=31, max_repeats=3)
    assert len(concatenated(sides[:1], items=31, max_repeats=3).order) == 31


@settings(max_examples=40, deadline=None)
@given(SIZES, SIZES, st.integers(1, 200), st.booleans())
def test_the_report_of_any_prefix_counts_what_is_in_it(human: list[int], synthetic: list[int], length: int, together: bool) -> None:
    sides = [side("human", human), side("synthetic", synthetic)]
    mixture = (concatenated if together else mix)(sides, items=200, max_repeats=1000)
    loss = np.concatenate([human, synthetic])[mixture.order[:length]]
    for k, row in enumerate(mixture.report_of(length).sides):
        mine = mixture.side[:length] == k
        assert row.loss_tokens == loss[mine].sum()
        assert row.total_tokens == loss[mine].sum() + 30 * mine.sum()
        assert row.repeats == pytest.approx(mine.sum() / row.items)
        assert row.share == pytest.approx(loss[mine].sum() / loss.sum())


@settings(max_examples=30, deadline=None)
@given(SIZES, SIZES, st.integers(1, 3), st.integers(1, 7))
def test_an_epoch_shows_every_item_of_every_source_and_fills_whole_steps(human: list[int], synthetic: list[int], epochs: int, multiple: int) -> None:
    mixture = mix([side("human", human), side("synthetic", synthetic)], epochs=epochs, multiple=multiple, max_repeats=10_000)
    counts = np.bincount(mixture.order, minlength=len(human) + len(synthetic))
    assert counts.min() >= epochs
    assert len(mixture.order) % multiple == 0


def test_each_pass_over_a_source_is_complete_and_shuffled_anew() -> None:
    mixture = mix([side("human", [3] * 20)], items=60)
    passes = mixture.order.reshape(3, 20)
    assert all(sorted(one) == list(range(20)) for one in passes.tolist())
    assert len({tuple(one) for one in passes.tolist()}) == 3


def test_the_same_seed_gives_the_same_order_and_another_one_another() -> None:
    sides = [side("human", list(range(1, 20))), side("synthetic", list(range(1, 90)))]
    orders = [mix(sides, items=200, seed=seed).order.tolist() for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]


def test_repeats_are_capped_and_said() -> None:
    sides = [side("human", [5] * 4), side("synthetic", [5] * 100)]
    mixture = mix(sides, epochs=1, max_repeats=3)
    assert np.bincount(mixture.order)[:4].max() == 3
    assert "max_repeats=3 of 'human'" in str(mixture.report)
    with pytest.raises(ConfigError, match="more than max_repeats=3 times"):
        mix(sides, items=100, max_repeats=3)


def test_one_source_alone_is_that_source_whatever_the_cap() -> None:
    mixture = mix([side("human", [5] * 4), side("synthetic", [])], epochs=7, max_repeats=1)
    assert len(mixture.order) == 28
    assert mixture.report.sides[0].repeats == 7


def test_a_ratio_for_an_absent_source_is_refused() -> None:
    with pytest.raises(ConfigError, match="no synthetic examples"):
        mix([side("human", [5])], {"human": 1, "synthetic": 1})
    with pytest.raises(ConfigError, match="no training example is left"):
        mix([side("human", [])])


@pytest.mark.parametrize("text", ["1", "1:0", "1:-1", "a:b", "1:1:1", "nan:1"])
def test_a_ratio_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="human:synthetic"):
        parse_ratio(text, ["human", "synthetic"])


def test_the_report_adds_up() -> None:
    report = mix([side("human", [10] * 10, dropped=2), side("synthetic", [5] * 100)], {"human": 1, "synthetic": 1}, epochs=1).report
    human, synthetic = report.sides
    assert (human.loss_tokens, synthetic.loss_tokens) == (500, 500)
    assert (human.repeats, synthetic.repeats, human.dropped) == (5, 1, 2)
    assert human.total_tokens == 50 * 40
    assert "0.5000" in str(report)


def test_bucketing_moves_items_within_windows_only_and_keeps_the_mix_of_every_batch() -> None:
    random = np.random.default_rng(0)
    loss = [int(n) for n in random.integers(3, 12, 500)]
    sides = [side("human", loss[:100]), side("synthetic", loss[100:])]
    mixture = mix(sides, {"human": 1, "synthetic": 3}, items=640)
    lengths = random.integers(20, 120, 500)
    moved = bucketed(mixture, lengths, batch=16, window=8)
    order = moved.order
    assert ((order >= 100) == (moved.side == 1)).all()
    for side_report, shown in zip(moved.report_of(200).sides, (order[:200][order[:200] < 100], order[:200][order[:200] >= 100]), strict=True):
        assert side_report.loss_tokens == sum(loss[i] for i in shown), "the accounting of a run that ended early is of what it saw"
    for start in range(0, 640, 128):
        assert sorted(order[start : start + 128]) == sorted(mixture.order[start : start + 128])
    batches = order.reshape(-1, 16)
    padded = lengths[batches].max(axis=1).sum()
    assert padded < 0.85 * lengths[mixture.order.reshape(-1, 16)].max(axis=1).sum()
    human = (batches < 100).sum(axis=1)
    assert human.max() - human.min() <= 4
