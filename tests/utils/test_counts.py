import pytest

from flsl_mm.utils.counts import counted


@pytest.mark.parametrize(
    'number, thing, text',
    [
        (1, 'epoch', '1 epoch'),
        (2, 'epoch', '2 epochs'),
        (0, 'image', '0 images'),
        (1, 'process', '1 process'),
        (4, 'process', '4 processes'),
        (3, 'box', '3 boxes'),
        (3, 'batch', '3 batches'),
        (2, 'category', '2 categories'),
        (2, 'day', '2 days'),
        (2, 'data worker', '2 data workers'),
    ],
)
def test_one_is_singular_and_every_other_number_plural(number, thing, text):
    assert counted(number, thing) == text
