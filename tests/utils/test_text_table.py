from flsl_mm.utils.tables import column_widths, text_table


def test_names_stand_to_the_left_and_numbers_to_the_right():
    rows = [['network', 'top-1', 'J&F'], ['a', '7.1', '50.25'], ['b', '12.3', '']]
    assert column_widths(rows) == [7, 5, 5]
    assert text_table(rows).splitlines() == [
        'network  top-1    J&F',
        'a          7.1  50.25',
        'b         12.3',
    ]
