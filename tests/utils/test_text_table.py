from flsl_mm.utils.tables import column_widths, mean_and_spread, text_table


def test_names_stand_to_the_left_and_numbers_to_the_right():
    rows = [['network', 'top-1', 'J&F'], ['a', '7.1', '50.25'], ['b', '12.3', '']]
    assert column_widths(rows) == [7, 5, 5]
    assert text_table(rows).splitlines() == [
        'network  top-1    J&F',
        'a          7.1  50.25',
        'b         12.3',
    ]


def test_a_spread_is_told_of_several_values_only():
    assert mean_and_spread([50.0, 52.0, 54.0]) == '52.0 ± 2.0'
    assert mean_and_spread([3.0]) == '3.0'
