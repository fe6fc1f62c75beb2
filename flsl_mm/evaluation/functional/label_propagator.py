"""Labels carried along a video by the similarity of frozen features."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

# Rows of target tokens worked on together: more of them compare more pairs outside the window and
# take more memory, fewer leave a GPU idle. Results do not depend on it.
_BAND_ROWS = dict(cpu=8, cuda=32)


class _Band(NamedTuple):
    """Some rows of targets and the sources in their reach.

    Attributes:
        rows: The b rows of the targets.
        source_rows: The R rows that their windows cover.
        outside: (b, 1, R), 0 where a row is within a target's window, -inf where it is not.
        sources: (w, T, R, D) unit features, for each column those of all frames side by side.
    """

    rows: slice
    source_rows: slice
    outside: Tensor
    sources: Tensor


class LabelPropagator:
    """Carries labels from earlier frames of a video to the next, DINO's and FLSL's DAVIS protocol.

    A target token takes the mean label of the ``topk`` most similar among all tokens of the
    remembered frames at most ``radius`` rows and columns away, weighted by
    exp(cosine similarity / ``temperature``). Of equally similar ones at the border all are taken.

    Only pairs of a window are compared: for each band of target rows, the tokens of one source
    column, in all remembered frames, meet the target columns in reach in one matrix product. Peak
    memory beside the remembered features grows with w (2 radius + 1) times the number of frames,
    not with (h w)^2.

    Args:
        grid: Rows h and columns w of tokens in a frame.
        radius: Window, in tokens; None compares all tokens.
        topk: Number of source tokens that vote, at least 1.
        temperature: Above 0.
        num_frames: Frames remembered: the first for good, then the latest ``num_frames`` - 1.

    Raises:
        ValueError: A number is out of range.

    Examples:
        >>> propagator = LabelPropagator((30, 52), num_frames=8)  # doctest: +SKIP
        >>> propagator.remember(first_features, first_labels)
        >>> for features in later_features:
        ...     labels = propagator.propagate(features)
        ...     propagator.remember(features, labels)
    """

    def __init__(
        self,
        grid: tuple[int, int],
        radius: int | None = 12,
        topk: int = 5,
        temperature: float = 0.1,
        num_frames: int = 8,
    ) -> None:
        height, width = grid
        if min(height, width) < 1:
            raise ValueError(f'a grid has at least one row and column, got {height} x {width}')
        if radius is not None and radius < 0:
            raise ValueError(f'radius must be at least 0, or None, got {radius}')
        if topk < 1 or num_frames < 1:
            raise ValueError(f'topk and num_frames must be at least 1, got {topk} and {num_frames}')
        if not temperature > 0:
            raise ValueError(f'temperature must be above 0, got {temperature}')
        self.grid = (height, width)
        reach = max(grid) if radius is None else radius
        self.reach = (min(reach, height - 1), min(reach, width - 1))
        self.topk = topk
        self.temperature = temperature
        self.num_frames = num_frames
        self.num_seen = 0
        self.bands: list[_Band] = []

    @property
    def num_remembered(self) -> int:
        """Frames that labels are taken from at present."""
        return min(self.num_seen, self.num_frames)

    def remember(self, features: Tensor, labels: Tensor) -> None:
        """Take labels from this frame too; the oldest but the first makes room where needed.

        Args:
            features: (h*w, D), of the same D, dtype and device each time.
            labels: (C, h, w), of the same C each time.

        Raises:
            ValueError: Shapes do not fit the grid or the frames before.
        """
        columns = self._columns(features)
        if labels.shape[1:] != self.grid:
            raise ValueError(f'labels are {tuple(labels.shape)}, expected (C, h, w) of {self.grid}')
        if not self.num_seen:
            self._allocate(columns, labels)
        if columns.shape[-1] != self.dim or len(labels) != self.labels.shape[-1]:
            raise ValueError(
                f'{columns.shape[-1]} features and {len(labels)} labels follow a frame of '
                f'{self.dim} and {self.labels.shape[-1]}'
            )
        slot = self._slot()
        self.num_seen += 1
        if slot is not None:
            self.labels[slot] = labels.permute(1, 2, 0)
            for band in self.bands:
                band.sources[:, slot] = columns[:, band.source_rows]

    def propagate(self, features: Tensor) -> Tensor:
        """Labels of a frame, from those remembered.

        Args:
            features: (h*w, D).

        Returns:
            Tensor: (C, h, w), as large as a mean of the remembered labels.

        Raises:
            ValueError: Nothing is remembered, or shapes do not fit.
        """
        if not self.num_seen:
            raise ValueError('no frame to take labels from: call remember first')
        columns = self._columns(features)
        if columns.shape[-1] != self.dim:
            raise ValueError(f'{columns.shape[-1]} features, the remembered have {self.dim}')
        result = self.labels.new_empty(*self.grid, self.labels.shape[-1])
        for band in self.bands:
            scores = self._compare(columns, band)  # (w, b, W, T, R)
            weights, indices = self._vote(scores)  # (w, b, K)
            votes = self._labels_at(indices, band)  # (w, b, K, C)
            result[band.rows] = (weights.unsqueeze(-1) * votes).sum(2).transpose(0, 1)
        return result.permute(2, 0, 1)

    def _slot(self) -> int | None:
        """Where the next frame goes; None where only the first is kept."""
        if self.num_seen < self.num_frames:
            return self.num_seen
        latest = self.num_frames - 1
        return 1 + (self.num_seen - 1) % latest if latest else None

    def _columns(self, features: Tensor) -> Tensor:
        """Unit features (w, h, D), column by column."""
        height, width = self.grid
        if features.dim() != 2 or len(features) != height * width:
            raise ValueError(
                f'features are {tuple(features.shape)}, expected (h*w, D) with {height} x {width}'
            )
        if features.dtype != torch.float64:
            features = features.float()
        return F.normalize(features, dim=1).view(height, width, -1).transpose(0, 1).contiguous()

    def _allocate(self, columns: Tensor, labels: Tensor) -> None:
        """Make room for the frames to remember."""
        (height, width), (reach, _) = self.grid, self.reach
        self.dim = columns.shape[-1]
        self.labels = columns.new_zeros(self.num_frames, height, width, len(labels))
        size = _BAND_ROWS['cuda' if columns.is_cuda else 'cpu']
        self.bands = []
        for first in range(0, height, size):
            last = min(first + size, height)
            low, high = max(first - reach, 0), min(last + reach, height)
            row = torch.arange(height, device=columns.device)
            far = (row[first:last, None] - row[low:high]).abs() > reach
            outside = columns.new_zeros(far.shape).masked_fill_(far, -torch.inf)
            sources = columns.new_empty(width, self.num_frames, high - low, self.dim)
            self.bands.append(
                _Band(slice(first, last), slice(low, high), outside.unsqueeze(1), sources)
            )

    def _compare(self, columns: Tensor, band: _Band) -> Tensor:
        """Cosine similarities of a band's targets to all within reach.

        Returns:
            Tensor: (w, b, W, T, R): target column and row, then source column from ``reach``
            columns before the target's on, frame and row; -inf outside the window or the image.
        """
        width, reach = self.grid[1], self.reach[1]
        targets = columns[:, band.rows].contiguous()  # (w, b, D)
        rows, frames, source_rows = targets.shape[1], self.num_remembered, band.sources.shape[2]
        scores = targets.new_empty(width, rows, 2 * reach + 1, frames, source_rows)
        across, down, along = scores.stride()[:3]
        for source in range(-reach, width + reach):
            low, high = max(source - reach, 0), min(source + reach + 1, width)
            # The next target column has this source column one place earlier in its window.
            place = scores.as_strided(
                (high - low, rows, frames, source_rows),
                (across - along, down, source_rows, 1),
                low * across + (source - low + reach) * along,
            )
            if not 0 <= source < width:
                place.fill_(-torch.inf)
                continue
            keys = band.sources[source, :frames].flatten(0, 1)  # (T*R, D)
            product = targets[low:high].flatten(0, 1) @ keys.T
            torch.add(product.view_as(place), band.outside, out=place)
        return scores

    def _vote(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (w, b, K), and indices (w, b, K) into the last three dimensions of ``scores``."""
        flat = scores.flatten(2)
        # One more than asked for tells whether there is a tie.
        values, indices = flat.topk(min(self.topk + 1, flat.shape[-1]))
        if values.shape[-1] > self.topk:
            border = values[..., self.topk - 1 : self.topk]
            tie = border.isfinite() & (values[..., self.topk :] == border)
            if tie.any():
                least = border.clamp(min=torch.finfo(values.dtype).min)
                values, indices = flat.topk(int((flat >= least).sum(-1).max()))
                values = values.masked_fill(values < least, -torch.inf)
            else:
                values, indices = values[..., : self.topk], indices[..., : self.topk]
        return (values / self.temperature).softmax(-1), indices

    def _labels_at(self, indices: Tensor, band: _Band) -> Tensor:
        """Labels (w, b, K, C) of the sources that ``indices`` of :meth:`_vote` name."""
        (_, width), reach, frames = self.grid, self.reach[1], self.num_remembered
        source_rows = band.sources.shape[2]
        own = torch.arange(width, device=indices.device).view(-1, 1, 1)
        column = own + indices // (frames * source_rows) - reach
        frame = indices // source_rows % frames
        row = indices % source_rows + band.source_rows.start
        # Votes of weight 0 may lie outside the image.
        return self.labels[frame, row, column.clamp(0, width - 1)]
