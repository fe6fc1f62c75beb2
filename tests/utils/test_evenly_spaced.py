from flsl_mm.utils.images import evenly_spaced


def test_a_few_of_many_are_spread_evenly():
    assert evenly_spaced(list('abcdef'), 3) == ['a', 'c', 'e']
    assert evenly_spaced(list('ab'), 3) == ['a', 'b']
