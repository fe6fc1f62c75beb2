"""Labels of one video frame from others, in one call."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils.errors import ConfigError

# Rows of target tokens worked on together: more of them compare more pairs outside the window and
# take more memory, fewer leave the processor idle. Results do not depend on it.
_BAND_ROWS = dict(cpu=6, cuda=32)


class LabelPropagator:
    """Carries labels from earlier frames of a video to the next, DINO's and FLSL's DAVIS protocol.

    A target token takes the mean label of the ``topk`` most similar among all tokens of the
    remembered frames at most ``radius`` rows and columns away, weighted by
    exp(cosine similarity / ``temperature``). Of equally similar ones at the border all are taken.

    Only pairs of a window are compared: for each band of target rows, one batched matrix product
    in which the tokens of a source column, in all remembered frames, meet the target columns in
    reach. Peak memory beside the remembered features grows with w (2 radius + 1)^2 times the number
    of frames, not with (h w)^2.

    Args:
        grid: Rows h and columns w of tokens in a frame.
        radius: Window, in tokens; None compares all tokens.
        topk: Number of source tokens that vote, at least 1.
        temperature: Above 0.
        num_frames: Frames remembered: the first for good, then the latest ``num_frames`` - 1.

    Raises:
        ConfigError: A number is out of range.

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
            raise ConfigError(f'radius must be at least 0, or None, got {radius}')
        if topk < 1 or num_frames < 1:
            raise ConfigError(
                f'topk and num_frames must be at least 1, got {topk} and {num_frames}'
            )
        if not temperature > 0:
            raise ConfigError(f'temperature must be above 0, got {temperature}')
        self.grid = (height, width)
        reach = max(grid) if radius is None else radius
        self.reach = (min(reach, height - 1), min(reach, width - 1))
        self.topk = topk
        self.temperature = temperature
        self.num_frames = num_frames
        self.num_seen = 0
        self.sources: Tensor | None = None  # (w, h, T, D), unit features
        self.labels: Tensor | None = None  # (T, h, w, C)
        self.workspace: Tensor | None = None

    @property
    def num_remembered(self) -> int:
        """Frames that labels are taken from at present."""
        return min(self.num_seen, self.num_frames)

    @property
    def dim(self) -> int:
        """Width D of the remembered features."""
        return self.sources.shape[-1]

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
        labels = labels.permute(1, 2, 0).to(columns.dtype)
        if not self.num_seen:
            self.sources, self.labels = columns.unsqueeze(2), labels.unsqueeze(0)
        elif columns.shape[-1] != self.dim or labels.shape[-1] != self.labels.shape[-1]:
            raise ValueError(
                f'{columns.shape[-1]} features and {labels.shape[-1]} labels follow a frame of '
                f'{self.dim} and {self.labels.shape[-1]}'
            )
        elif self.num_seen < self.num_frames:
            self.sources = torch.cat([self.sources, columns.unsqueeze(2)], dim=2)
            self.labels = torch.cat([self.labels, labels.unsqueeze(0)])
        elif latest := self.num_frames - 1:
            slot = 1 + (self.num_seen - 1) % latest
            self.sources[:, :, slot] = columns
            self.labels[slot] = labels
        self.num_seen += 1

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
        height = self.grid[0]
        size = _BAND_ROWS['cuda' if columns.is_cuda else 'cpu']
        result = torch.empty_like(self.labels[0])
        for first in range(0, height, size):
            rows = range(first, min(first + size, height))
            low, high = max(rows.start - self.reach[0], 0), min(rows.stop + self.reach[0], height)
            pairs, best = self._compare(columns, rows, range(low, high))
            weights, *sources = self._vote(pairs, best)  # each (w, b, K)
            votes = self._labels_at(*sources, low)  # (w, b, K, C)
            result[first : rows.stop] = (weights.unsqueeze(-1) * votes).sum(2).transpose(0, 1)
        return result.permute(2, 0, 1)

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

    def _compare(self, columns: Tensor, rows: range, source_rows: range) -> tuple[Tensor, Tensor]:
        """Cosine similarities of a band of b target rows to all within reach.

        Args:
            columns: Unit features of all targets (w, h, D).
            rows: The b rows of targets.
            source_rows: The R rows that their windows cover.

        Returns:
            tuple[Tensor, Tensor]: Similarities (w * W * b + 1, R * T), valid until the next call:
            one row for each source column, target column around it and target row, one column for
            each source row and frame; -inf outside the window, and in the last row. And the best
            for each target column and row and source column around it (w, b, W), -inf outside the
            image.
        """
        width, reach = self.grid[1], self.reach[1]
        height, window = len(rows), 2 * reach + 1
        sources = self.sources[:, source_rows.start : source_rows.stop].flatten(1, 2)  # (w, R*T, D)
        # The targets around a source column: overlapping pieces of memory, with zeros at the sides.
        targets = F.pad(columns[:, rows.start : rows.stop], (0, 0, 0, 0, reach, reach))
        around = targets.as_strided((width, window * height, self.dim), targets.stride())
        pairs = self._room(width * window * height + 1, sources.shape[1])
        pairs[-1] = -torch.inf
        product = pairs[:-1].view(width, window * height, -1)
        torch.bmm(around, sources.transpose(1, 2), out=product)
        here, there = (
            torch.arange(r.start, r.stop, device=columns.device) for r in (rows, source_rows)
        )
        apart = here.unsqueeze(1) - there
        far = torch.where(apart.abs() > self.reach[0], -torch.inf, 0.0).to(sources)  # (b, R)
        product = product.view(width, window, height, -1)
        product.add_(far.repeat_interleave(self.num_remembered, 1))
        best = product.new_full((width + 2 * reach, height, window), -torch.inf)
        # One target column further on, a source is one place further back in the window.
        column, row, place = best.stride()
        by_source = best.as_strided(
            (width, window, height), (column, column - place, row), 2 * reach * place
        )
        by_source.copy_(product.amax(-1))
        return pairs, best[reach : reach + width]

    def _room(self, *shape: int) -> Tensor:
        """Memory for a tensor, the same at each call: new pages would take long to get."""
        size = math.prod(shape)
        if self.workspace is None or len(self.workspace) < size:
            self.workspace = self.sources.new_empty(size)
        return self.workspace[:size].view(shape)

    def _vote(self, pairs: Tensor, best: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Weights of the K sources of each target, from what :meth:`_compare` returns.

        Returns:
            tuple[Tensor, Tensor, Tensor]: Weights, place of the source column in the window, and
            number of the source among those of the column, each (w, b, K).
        """
        # One more than asked for tells whether there is a tie. The most similar lie in as many
        # source columns at most: those with the best.
        found, places = self._best_columns(pairs, best, self.topk + 1)
        values, indices = found.topk(min(self.topk + 1, found.shape[-1]))
        if values.shape[-1] > self.topk:
            border = values[..., self.topk - 1 : self.topk]
            tie = border.isfinite() & (values[..., self.topk :] == border)
            if tie.any():
                least = border.clamp(min=torch.finfo(values.dtype).min)
                number = int((best >= least).sum(-1).max())
                found, places = self._best_columns(pairs, best, number)
                values, indices = found.topk(int((found >= least).sum(-1).max()))
                values = values.masked_fill(values < least, -torch.inf)
            else:
                values, indices = values[..., : self.topk], indices[..., : self.topk]
        weights = (values / self.temperature).softmax(-1)
        return weights, places.gather(-1, indices // pairs.shape[1]), indices % pairs.shape[1]

    def _best_columns(self, pairs: Tensor, best: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Similarities (w, b, number * R * T) of each target to the source columns with the best.

        Also the places (w, b, number) of the columns in the window.
        """
        (width, height, window), reach = best.shape, self.reach[1]
        best, places = best.topk(min(number, window))
        own = torch.arange(width, device=best.device).view(-1, 1, 1)
        row = torch.arange(height, device=best.device).view(-1, 1)
        # The rows of `pairs`: source column, then target column, counted from the other side.
        index = ((own + places - reach) * window + window - 1 - places) * height + row
        index = index.where(best > -torch.inf, len(pairs) - 1)
        return pairs.index_select(0, index.flatten()).view(width, height, -1), places

    def _labels_at(self, places: Tensor, numbers: Tensor, first_row: int) -> Tensor:
        """Labels (w, b, K, C) of the sources that :meth:`_vote` found."""
        width, frames = self.grid[1], self.num_remembered
        own = torch.arange(width, device=places.device).view(-1, 1, 1)
        # Votes of weight 0 may lie outside the image.
        column = (own + places - self.reach[1]).clamp(0, width - 1)
        return self.labels[numbers % frames, first_row + numbers // frames, column]


@torch.no_grad()
def propagate_labels(
    target_features: Tensor | np.ndarray,
    source_features: Tensor | np.ndarray,
    source_labels: Tensor | np.ndarray,
    radius: int | None,
    topk: int,
    temperature: float = 0.1,
) -> Tensor:
    """Label propagation of DINO's and FLSL's DAVIS protocol, see :class:`LabelPropagator`.

    Along a video that class is the faster way: it prepares each frame once. Takes tensors or numpy
    arrays.

    Args:
        target_features: (h*w, D) of the frame to label.
        source_features: (T, h*w, D) of labelled frames.
        source_labels: (T, C, h, w).
        radius: Window, in tokens; None compares all tokens.
        topk: Number of source tokens that vote, at least 1.
        temperature: Above 0.

    Returns:
        Tensor: (C, h, w).

    Raises:
        ValueError: Shapes do not fit each other, or a number is out of range.
    """
    target_features, source_features, source_labels = map(
        torch.as_tensor, (target_features, source_features, source_labels)
    )
    common = torch.promote_types(target_features.dtype, source_features.dtype)
    target_features, source_features = target_features.to(common), source_features.to(common)
    if source_labels.dim() != 4 or not len(source_labels):
        raise ValueError(
            f'source_labels are (T, C, h, w) with T at least 1, got {tuple(source_labels.shape)}'
        )
    if len(source_features) != len(source_labels):
        raise ValueError(f'{len(source_features)} source_features, {len(source_labels)} labels')
    propagator = LabelPropagator(
        tuple(source_labels.shape[-2:]), radius, topk, temperature, len(source_labels)
    )
    for features, labels in zip(source_features, source_labels):
        propagator.remember(features, labels)
    return propagator.propagate(target_features)
