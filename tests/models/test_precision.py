import pytest
import torch

from flsl_mm.models.precision import at_least_float32, in_bfloat16_if_autocast_is


@pytest.mark.parametrize(
    'given, wanted',
    [
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_low_precision_is_raised_to_float32(given, wanted):
    assert at_least_float32(torch.ones(2, dtype=given)).dtype == wanted


def test_only_bfloat16_autocast_changes_the_format():
    x = torch.ones(2)
    assert in_bfloat16_if_autocast_is(x) is x
    with torch.autocast('cpu', torch.bfloat16):
        assert in_bfloat16_if_autocast_is(x).dtype == torch.bfloat16
        with torch.autocast('cpu', enabled=False):
            assert in_bfloat16_if_autocast_is(x) is x


def test_float16_keeps_float32_for_its_range():
    x = torch.ones(2)
    with torch.autocast('cpu', torch.float16):
        assert in_bfloat16_if_autocast_is(x) is x
