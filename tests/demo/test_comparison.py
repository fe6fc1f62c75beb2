from flsl_mm.demo.comparison import Comparison, means_table, verdict

CLEAR = Comparison('top-1', {'FLSL': [50.0, 52.0, 54.0], 'random': [40.0, 41.0, 45.0]})
MIXED = Comparison('mIoU', {'FLSL': [30.0, 36.0, 33.0], 'random': [31.0, 28.0, 29.5]})
BEHIND = Comparison('J&F', {'FLSL': [10.0, 11.0, 12.0], 'random': [13.0, 14.0, 15.0]})


def test_means_and_margins_are_over_seeds():
    assert CLEAR.mean('FLSL') == 52
    assert CLEAR.margins('FLSL', 'random') == [10, 11, 9]


def test_ahead_means_with_every_seed():
    assert CLEAR.is_ahead('FLSL', 'random') and not CLEAR.is_ahead('random', 'FLSL')
    assert not MIXED.is_ahead('FLSL', 'random') and not MIXED.is_ahead('random', 'FLSL')


def test_the_verdict_says_where_a_method_is_not_ahead():
    text = verdict([CLEAR, MIXED, BEHIND], 'FLSL', 'random')
    ahead, behind, overlap = text.split(';')
    assert 'FLSL is ahead of random' in ahead and 'top-1 (+10.0)' in ahead
    assert 'behind random' in behind and 'J&F (-3.0)' in behind
    assert 'overlap' in overlap and 'mIoU (+3.5)' in overlap
    assert 'ahead' not in verdict([BEHIND], 'FLSL', 'random')
    assert 'behind' not in verdict([CLEAR], 'FLSL', 'random')


def test_the_table_has_a_row_for_each_measure():
    lines = means_table([CLEAR, BEHIND], ['random', 'FLSL']).splitlines()
    assert lines[0].split() == ['random', 'FLSL']
    assert lines[1].split() == ['top-1', '42.0', '±', '2.6', '52.0', '±', '2.0']
