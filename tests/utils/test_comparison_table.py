from flsl_mm.utils.tables import comparison_table


def test_networks_are_rows_and_numbers_are_columns():
    table = comparison_table(
        {
            'a.pth': {'knn': {'k=10': 76.716, 'images': 50000}, 'davis': {'J': 1.5}},
            'random:deit-small/16': {'knn': {'k=10': 3.0, 'images': 50000}, 'davis': {'J': 2.0}},
        }
    )
    assert table.splitlines() == [
        '                      knn            davis',
        'network                k=10  images     J',
        'a.pth                 76.72   50000  1.50',
        'random:deit-small/16   3.00   50000  2.00',
    ]


def test_a_network_may_lack_numbers_and_details_are_left_out():
    table = comparison_table(
        {'a': {'knn': {'k': 1, 'details': {'x': 1}, 'of': 'b', 'all': True}}, 'b': {}}
    )
    assert table.splitlines() == ['         knn', 'network  k', 'a        1', 'b']


def test_the_last_line_says_what_the_numbers_are_of():
    first = {'knn': {'k': 1, 'data': '6 images'}, 'davis': {'j': 2, 'data': '1 sequence'}}
    second = {'knn': {'k': 1, 'data': '5 images'}}
    lines = comparison_table({'a': first, 'b': second}).splitlines()
    assert lines[-1] == '(knn: 6 images or 5 images; davis: 1 sequence)'
    assert len(lines) == 5


def test_every_title_stands_above_its_columns_however_long_it_is():
    numbers = {'segmentation': {'m': 1}, 'tracking': {'j': 1, 'f': 2}, 'b': {'n': 2}}
    assert comparison_table({'a': numbers}).splitlines() == [
        '         segmentation  tracking  b',
        'network             m  j      f  n',
        'a                   1  1      2  2',
    ]


def test_the_parts_of_a_task_take_its_place():
    numbers = {'clusters/mIoU': 1, 'clusters/accuracy': 2, 'objects/CorLoc': 3}
    assert comparison_table({'a': {'dense': numbers}}).splitlines() == [
        '         clusters        objects',
        'network  mIoU  accuracy  CorLoc',
        'a           1         2       3',
    ]


def test_parts_that_two_tasks_have_are_told_apart():
    numbers = {'street': {'seg/mIoU': 1, 'clusters/mIoU': 2}, 'clothing': {'seg/mIoU': 3}}
    assert comparison_table({'a': numbers}).splitlines() == [
        '         street seg  clusters  clothing seg',
        'network        mIoU      mIoU  mIoU',
        'a                 1         2     3',
    ]
