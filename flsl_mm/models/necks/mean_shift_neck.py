"""The neck: tokens of views to queries, modes and positives."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from mmengine.dist import all_gather
from mmengine.logging import MMLogger
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor

from ...utils.devices import send
from ...utils.errors import ConfigError
from ..layers.positions import gather_tokens
from ..mean_shift import (
    effective_number,
    mean_shift,
    mean_shift_weights,
    sharpen,
    solve_scale,
    spread_tokens,
)
from ..place import finds_its_place, place_bias
from .queries import draw_places, kept_queries, project_queries, sample_tokens, window_queries

AUTO = 'auto'
SOLVED_BATCHES = 8
"""Batches whose scales an automatic one is the geometric mean of."""
RELEASED_SCALE = 0.1 / 384**0.5


class ViewPair(NamedTuple):
    """A student view and the teacher view that its queries look into.

    Attributes:
        kind: ``'global'`` or ``'local'``: which window size applies.
        student: Student tokens (B, N, D), or those that were encoded (B, K, D).
        student_grid: Rows and columns of the student tokens, encoded or not.
        teacher: Teacher tokens (B, N', D), without gradient.
        teacher_grid: Rows and columns of the teacher tokens.
        boxes: Crop boxes (B, 4) of the student and of the teacher view, x1, y1, x2, y2 in pixels
            of the image; needed for positional positives, a prior of place and
            ``matching_accuracy``.
        previous: Tokens of both un-augmented views from an earlier teacher; needed for the
            multi-stage option only.
        places: Which tokens of the grid were encoded (B, K), as :meth:`MeanShiftNeck.draw_places`
            gives them; None for all, in their order.
    """

    kind: str
    student: Tensor
    student_grid: tuple[int, int]
    teacher: Tensor
    teacher_grid: tuple[int, int]
    boxes: tuple[Tensor, Tensor] | None = None
    previous: tuple[Tensor, Tensor] | None = None
    places: Tensor | None = None

    def on_grid(self, indices: Tensor) -> Tensor:
        """Where on their grid encoded tokens lie: (B, Q) to (B, Q)."""
        return indices if self.places is None else self.places.gather(1, indices)


class Clusters(NamedTuple):
    """What the head compares, over the queries of all student views (M = sum of B * Q).

    Attributes:
        queries: Tokens z (M, D).
        modes: Their cluster representatives in their own view, SA(z, Z) (M, D).
        positives: Their modes in the teacher view, CA(z, Z+) (M, D), without gradient.
        attended_tokens: Scalar, mean over the queries of exp(entropy of the self-attention): the
            effective number of tokens in a cluster.
        matching_accuracy: Scalar, share of the queries whose most similar teacher token lies
            within one token of their own place; None without crop boxes.
    """

    queries: Tensor
    modes: Tensor
    positives: Tensor
    attended_tokens: Tensor
    matching_accuracy: Tensor | None


@MODELS.register_module()
class MeanShiftNeck(BaseModule):
    """Retrieve every query's mode in its own view and in the teacher's (paper, Eq. 4 and 12).

    Non-parametric. The scale sets the cluster size: after the last LayerNorm a token's logit with
    itself is near ``D * scale``, so another width D needs another scale; ``'auto'`` finds it.

    Args:
        self_scale: Factor of the logits of self-attention; the release has 0.1 / sqrt(384).
            ``'auto'``: solved for on each of the first 8 batches in training, so that queries
            attend to the wanted number of tokens, on the mean, once tokens have parted
            (:func:`.spread_tokens`; the log's ``attended_tokens`` starts higher and falls to it);
            the geometric mean over them and all processes stays, and is in the checkpoint. Solved
            anew where a schedule has changed ``attended_tokens``. (Until the first batch it is the
            release's.)
        cross_scale: The same for cross-attention; the release has 0.2 / sqrt(384). Smaller than
            ``self_scale`` collapses training (released code). None, as always with ``'auto'``:
            ``cross_ratio * self_scale``.
        window_sizes: Side in tokens of the block that gives one query, for ``global`` and
            ``local`` views (Appendix I.2). Default 2 and 2.
        random_queries: Draw the query within its block instead of taking the top-left token.
        positional_positives: Instead of cross-attention take the teacher feature at the query's
            projected position (Section 4.2, for the early stage of training; a ``step`` schedule
            switches it off).
        previous_mix: Multi-stage option: share in [0, 1] of the current cross-attention, the rest
            being that of an earlier teacher between the un-augmented views.
        previous_sharpness: Multi-stage option: steepness of the soft mask made of the earlier
            teacher's attention.
        attended_tokens: With ``self_scale='auto'``, the wanted effective number of tokens in a
            query's cluster, above 1; a schedule may change it.
        cross_ratio: What ``cross_scale`` is to ``self_scale`` where it is None; the release's.
        place_width: Width in teacher tokens of a Gaussian prior of place on the cross-attention:
            to the logit of each teacher token is added the log of a Gaussian around the query's
            projected position. 0 is the same as positional positives, infinite (the paper) Eq. 12;
            a schedule may go from one to the other.
        parted: With ``'auto'``: the tokens are of trained weights and have parted already, and the
            scale is solved for on them as they are.

    Raises:
        ConfigError: A scale or window is not positive, a window kind is unknown or missing, or
            another value is out of its range.
    """

    def __init__(
        self,
        self_scale: float | str,
        cross_scale: float | None = None,
        window_sizes: dict[str, int] | None = None,
        random_queries: bool = False,
        positional_positives: bool = False,
        previous_mix: float = 0.5,
        previous_sharpness: float = 100.0,
        attended_tokens: float = 4.0,
        cross_ratio: float = 2.0,
        place_width: float = math.inf,
        parted: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        auto = self_scale == AUTO
        if auto:
            if cross_scale is not None:
                MMLogger.get_current_instance().warning(
                    f'MeanShiftNeck: cross_scale={cross_scale} does not count: with '
                    f"self_scale='auto' it is cross_ratio={cross_ratio:g} times what is found"
                )
            self_scale, cross_scale = RELEASED_SCALE, None
        elif isinstance(self_scale, str):
            raise ConfigError(
                f"MeanShiftNeck: self_scale must be a number or 'auto', got {self_scale!r}"
            )
        cross_scale = cross_ratio * self_scale if cross_scale is None else cross_scale
        if min(attended_tokens - 1, cross_ratio) <= 0 or not place_width >= 0:
            raise ConfigError(
                'MeanShiftNeck: attended_tokens must be above 1, cross_ratio above 0 and '
                f'place_width at least 0, got {attended_tokens}, {cross_ratio} and {place_width}'
            )
        window_sizes = {'global': 2, 'local': 2} if window_sizes is None else dict(window_sizes)
        if set(window_sizes) != {'global', 'local'} or min(window_sizes.values()) < 1:
            raise ConfigError(
                "MeanShiftNeck: window_sizes needs a positive size for 'global' and for 'local', "
                f'got {window_sizes}'
            )
        if min(self_scale, cross_scale) <= 0:
            raise ConfigError(
                f'MeanShiftNeck: scales must be positive, got self_scale={self_scale}, '
                f'cross_scale={cross_scale}'
            )
        if not 0 <= previous_mix <= 1:
            raise ConfigError(f'MeanShiftNeck: previous_mix must be in [0, 1], got {previous_mix}')
        if cross_scale < self_scale:
            MMLogger.get_current_instance().warning(
                f'MeanShiftNeck: cross_scale={cross_scale} is below self_scale={self_scale}; '
                'the authors saw training collapse there'
            )
        self.self_scale = self_scale
        self.cross_scale = cross_scale
        self.window_sizes = window_sizes
        self.random_queries = random_queries
        self.positional_positives = positional_positives
        self.previous_mix = previous_mix
        self.previous_sharpness = previous_sharpness
        self.attended_tokens = attended_tokens
        self.cross_ratio = cross_ratio
        self.place_width = place_width
        self.parted = parted
        # Sum of the logarithms of the scales that were found, their number, and what was wanted.
        # Beside the numbers themselves, for a GPU would have to be waited for to read them.
        self._found = 0.0, 0.0, 0.0
        state = torch.zeros(3, dtype=torch.float64) if auto else None
        self.register_buffer('auto_scale', state)

    def forward(self, pairs: Sequence[ViewPair]) -> Clusters:
        """Sample queries in every student view and retrieve their modes.

        Args:
            pairs: One entry for each student view.

        Returns:
            Clusters: Queries, modes and positives of all views, concatenated.
        """
        queries = [self.queries(pair) for pair in pairs]
        if self.auto_scale is not None:
            self._find_scale(pairs, queries)
        return self._concatenate([self._cluster(*found) for found in zip(pairs, queries)])

    def draw_places(self, kind: str, grid: tuple[int, int], batch: int, keep: float) -> Tensor:
        """Whole query windows of a student view that are encoded, see :func:`.draw_places`."""
        return draw_places(grid, self.window_sizes[kind], batch, keep)

    def queries(self, pair: ViewPair) -> Tensor:
        """Which of the student's tokens are queries (B, Q), drawn anew."""
        window = self.window_sizes[pair.kind]
        if pair.places is not None:
            chosen = kept_queries(pair.places, window, self.random_queries)
        else:
            batch = len(pair.student)
            chosen = window_queries(pair.student_grid, window, batch, self.random_queries)
        return send(chosen, pair.student.device)

    @torch.no_grad()
    def _find_scale(self, pairs: Sequence[ViewPair], queries: Sequence[Tensor]) -> None:
        """Solve for the scale on this batch, unless that was done on enough of them."""
        total, count, wanted = self._found
        if wanted != self.attended_tokens:
            total, count = 0.0, 0.0
        if count >= SOLVED_BATCHES or (count and not self.training):
            return
        device = pairs[0].student.device
        with torch.autocast(device.type, enabled=False):
            tokens = [pair.student for pair in pairs]
            tokens = [x.float() if self.parted else spread_tokens(x) for x in tokens]
            products = [
                gather_tokens(x, indices) @ x.transpose(1, 2) for x, indices in zip(tokens, queries)
            ]
            scale = solve_scale(products, self.attended_tokens)
        mine = torch.tensor(math.log(scale), dtype=torch.float64, device=device)
        total += float(torch.stack(all_gather(mine)).mean())  # the same in every process
        self._take(total, count + 1, self.attended_tokens)
        self.auto_scale.copy_(torch.tensor(self._found, dtype=torch.float64))
        if count + 1 in (1, SOLVED_BATCHES):
            MMLogger.get_current_instance().info(
                f'MeanShiftNeck: self_scale={self.self_scale:.4g} and cross_scale='
                f'{self.cross_scale:.4g} for {self.attended_tokens:g} attended tokens, found on '
                f'{int(count + 1)} of {SOLVED_BATCHES} batches'
            )

    def _take(self, total: float, count: float, wanted: float) -> None:
        self._found = total, count, wanted
        if count:
            self.self_scale = math.exp(total / count)
            self.cross_scale = self.cross_ratio * self.self_scale

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], *args, **kwargs) -> None:
        super()._load_from_state_dict(state_dict, *args, **kwargs)
        if self.auto_scale is not None:
            self._take(*self.auto_scale.tolist())

    def _cluster(self, pair: ViewPair, indices: Tensor) -> Clusters:
        queries = gather_tokens(pair.student, indices)
        modes = mean_shift(queries, pair.student, self.self_scale)
        with torch.no_grad():
            positives = self.positives(pair, indices, queries)
            attended = effective_number(mean_shift_weights(queries, pair.student, self.self_scale))
            found = None
            if pair.boxes is not None:
                points = project_queries(pair.on_grid(indices), pair.student_grid, *pair.boxes)
                found = finds_its_place(queries, pair.teacher, pair.teacher_grid, points)
        parts = queries, modes, positives, attended, found
        return Clusters(*(None if x is None else x.flatten(0, 1) for x in parts))

    def positives(self, pair: ViewPair, indices: Tensor, queries: Tensor) -> Tensor:
        """Teacher features that the queries of one view should agree with.

        Args:
            pair: The view, and that of the teacher.
            indices: Which of the student's tokens the queries are (B, Q).
            queries: (B, Q, D).

        Returns:
            Tensor: (B, Q, D).

        Raises:
            ConfigError: Positional positives or a prior of place without crop boxes.
        """
        bias = None
        if self.positional_positives or self.place_width < math.inf:
            if pair.boxes is None:
                raise ConfigError(
                    'positional positives need the crop box of every view: data samples with '
                    '`view_boxes`, as MultiViewPreprocessor makes them'
                )
            points = project_queries(pair.on_grid(indices), pair.student_grid, *pair.boxes)
            if self.positional_positives or self.place_width == 0:
                return sample_tokens(pair.teacher, pair.teacher_grid, points)
            bias = place_bias(points, pair.teacher_grid, self.place_width)
        if pair.previous is None:
            return mean_shift(queries, pair.teacher, self.cross_scale, bias)
        earlier_student, earlier_teacher = pair.previous
        earlier = mean_shift_weights(
            gather_tokens(earlier_student, pair.on_grid(indices)), earlier_teacher, self.cross_scale
        )
        weights = mean_shift_weights(queries, pair.teacher, self.cross_scale, bias)
        weights = self.previous_mix * weights + (1 - self.previous_mix) * sharpen(
            earlier, self.previous_sharpness
        )
        return (weights / weights.sum(dim=-1, keepdim=True)) @ pair.teacher.to(weights.dtype)

    @staticmethod
    def _concatenate(parts: Sequence[Clusters]) -> Clusters:
        *joined, found = zip(*parts)
        queries, modes, positives, attended = map(torch.cat, joined)
        missing = any(x is None for x in found)
        accuracy = None if missing else torch.cat(found).mean()
        return Clusters(queries, modes, positives, attended.mean(), accuracy)
