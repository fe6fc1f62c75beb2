import pytest
import torch

from flsl_mm.models.layers.positions import draw_windows, read_windows, token_centers

GRID = (6, 6)


def table_of_places(grid=GRID) -> torch.Tensor:
    """A table whose channels are x and y of each token's center."""
    return token_centers(grid).unsqueeze(0)


def test_the_whole_table_in_its_own_grid_is_the_table_itself():
    table = torch.randn(1, 36, 8)
    whole = torch.tensor([[0.0, 0, 1, 1]] * 2)
    torch.testing.assert_close(read_windows(table, GRID, GRID, whole), table.expand(2, -1, -1))


@pytest.mark.parametrize('target', [(3, 3), (4, 8), (6, 6)])
def test_each_image_reads_its_own_window(target):
    windows = torch.tensor([[0.25, 0.25, 0.75, 0.75], [0.5, 0.2, 0.9, 0.6]])
    found = read_windows(table_of_places((24, 24)), (24, 24), target, windows)
    for window, positions in zip(windows, found):  # bilinear is exact for what is linear
        expected = window[:2] + token_centers(target) * (window[2:] - window[:2])
        torch.testing.assert_close(positions, expected)


def test_windows_lie_inside_and_have_a_log_uniform_side():
    torch.manual_seed(0)
    windows = draw_windows(20000, (0.25, 1.0))
    sides = windows[:, 2:] - windows[:, :2]
    torch.testing.assert_close(sides[:, 0], sides[:, 1])
    assert windows.min() >= 0 and windows.max() <= 1 + 1e-6
    assert 0.25 <= sides.min() + 1e-6 and sides.max() <= 1
    assert (sides[:, 0] < 0.5).float().mean().item() == pytest.approx(0.5, abs=0.02)
    slack = (windows[:, :2] / (1 - sides))[sides[:, 0] < 0.9]
    assert slack.mean().item() == pytest.approx(0.5, abs=0.02)
    assert draw_windows(3, (1.0, 1.0)).tolist() == [[0, 0, 1, 1]] * 3
