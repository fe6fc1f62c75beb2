"""Finding one object of an image by the similarities of its tokens."""

import cv2
import numpy as np
import torch.nn.functional as F
from torch import Tensor

NUM_CANDIDATES = 100


def discover_object(tokens: Tensor, grid: tuple[int, int]) -> np.ndarray:
    """The box of one object, as LOST finds it (Simeoni et al., BMVC 2021).

    Objects are assumed to be smaller than what surrounds them. The seed is the token that is
    positively correlated with the fewest others; it is expanded by those of the 100 tokens (LOST's
    k) with the fewest positive correlations that correlate with it; the mask is all tokens that
    correlate with the expanded seed; the box is that of the mask's connected region (4 neighbors)
    with the seed. LOST takes keys of the last attention layer; here the tokens are taken, less
    their mean over the image, without which all would be correlated.

    Args:
        tokens: Tokens (N, D) of one image.
        grid: Their rows and columns, N in all.

    Returns:
        np.ndarray: x1, y1, x2, y2 in tokens, the upper ends exclusive.
    """
    tokens = F.normalize(tokens.float() - tokens.float().mean(dim=0), dim=1)
    similarity = tokens @ tokens.T  # (N, N)
    degree = (similarity > 0).sum(dim=1)
    order = degree.argsort(stable=True)
    seed = int(order[0])
    candidates = order[:NUM_CANDIDATES]
    expanded = candidates[similarity[seed, candidates] > 0]
    # a token without any direction (all tokens alike) correlates with none, not even itself
    mask = (similarity[:, expanded].sum(dim=1) > 0).view(grid).byte().cpu().numpy()
    mask.flat[seed] = 1
    _, regions = cv2.connectedComponents(mask, connectivity=4)
    rows, columns = np.nonzero(regions == regions.flat[seed])
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


def box_iou(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """IoU (M,) in [0, 1] of a box (4,) with boxes (M, 4), all x1, y1, x2, y2 of positive area."""
    size = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    overlap = size.clip(0).prod(axis=1)
    areas = [(b[..., 2:] - b[..., :2]).prod(axis=-1) for b in (box, boxes)]
    return overlap / (areas[0] + areas[1] - overlap)
