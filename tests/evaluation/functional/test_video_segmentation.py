import numpy as np
import pytest
import torch

from flsl_mm.evaluation.functional.video_segmentation import (
    first_labels,
    input_size,
    labels_to_mask,
    prepare_frame,
)


@pytest.mark.parametrize(
    'frame, patch, size',
    [
        ((480, 854), 16, (480, 832)),  # DAVIS at 480p
        ((480, 910), 8, (480, 896)),
        ((1080, 1920), 16, (480, 832)),
        ((854, 480), 16, (832, 480)),
        ((500, 500), 16, (480, 448)),
        ((480, 854), 14, (476, 826)),  # whole patches
    ],
)
def test_the_short_side_is_480_and_the_other_a_multiple_of_64(frame, patch, size):
    assert input_size(*frame, 480, patch) == size


def test_a_frame_without_a_patch_is_refused():
    with pytest.raises(ValueError, match='frames of 854 x 480 pixels leave no patch of 16'):
        input_size(480, 854, 8, 16)


def test_frames_are_normalized_with_the_historic_deviations():
    frame = np.full((4, 6, 3), 255, np.uint8)
    found = prepare_frame(frame, (2, 3))
    assert found.shape == (1, 3, 2, 3)
    expected = torch.tensor([(1 - 0.485) / 0.228, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225])
    torch.testing.assert_close(found[0, :, 1, 2], expected)


def test_channels_stay_in_order_and_pixels_in_place():
    frame = np.zeros((8, 8, 3), np.uint8)
    frame[:4, :, 0] = 255
    found = prepare_frame(frame, (8, 8))[0]
    assert (found[0, :4] > found[0, 4:]).all() and found[1:].unique().numel() == 2


def test_labels_are_one_hot_on_the_grid_of_tokens():
    mask = np.zeros((32, 48), np.uint8)
    mask[:16, :16], mask[16:, 32:], mask[16:, :16] = 1, 3, 255
    expected = torch.tensor([[1, 0, 0], [0, 0, 3]])
    labels = first_labels(mask, (2, 3))
    assert labels.shape == (4, 2, 3)  # an id without tokens keeps its channel
    assert torch.equal(labels.argmax(0), expected) and torch.equal(labels.sum(0), torch.ones(2, 3))


def test_a_mask_without_object_is_refused():
    with pytest.raises(ValueError, match='mask of the first frame has no object'):
        first_labels(np.full((8, 8), 255, np.uint8), (2, 2))


def test_a_mask_comes_back_from_its_labels():
    mask = np.zeros((64, 96), np.uint8)
    mask[16:48, 16:48], mask[:32, 64:] = 1, 2
    labels = first_labels(mask, (4, 6))
    found = labels_to_mask(labels, 16, (128, 192))
    assert found.shape == (128, 192) and found.dtype == np.uint8
    centers = found[16::32, 16::32]
    np.testing.assert_array_equal(centers, labels.argmax(0))


def test_each_channel_counts_by_its_own_range():
    labels = torch.zeros(3, 1, 2)
    labels[0] = torch.tensor([0.9, 0.8])  # background, everywhere the most
    labels[1] = torch.tensor([0.1, 0.2])
    labels[2] = 0.05  # the same everywhere: says nothing
    assert labels_to_mask(labels, 1, (1, 2)).tolist() == [[0, 1]]
