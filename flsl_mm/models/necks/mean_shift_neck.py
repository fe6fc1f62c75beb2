"""The neck: tokens of views to queries, modes and positives."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmengine.logging import MMLogger
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor

from ...utils.errors import ConfigError
from ..mean_shift import effective_number, mean_shift, mean_shift_weights, sharpen
from .queries import gather_tokens, project_queries, sample_tokens, window_queries


class ViewPair(NamedTuple):
    """A student view and the teacher view that its queries look into.

    Attributes:
        kind: ``'global'`` or ``'local'``: which window size applies.
        student: Student tokens (B, N, D).
        student_grid: Rows and columns of the student tokens.
        teacher: Teacher tokens (B, N', D), without gradient.
        teacher_grid: Rows and columns of the teacher tokens.
        boxes: Crop boxes (B, 4) of the student and of the teacher view, x1, y1, x2, y2 in pixels
            of the image; needed for positional positives only.
        previous: Tokens of both un-augmented views from an earlier teacher; needed for the
            multi-stage option only.
    """

    kind: str
    student: Tensor
    student_grid: tuple[int, int]
    teacher: Tensor
    teacher_grid: tuple[int, int]
    boxes: tuple[Tensor, Tensor] | None = None
    previous: tuple[Tensor, Tensor] | None = None


class Clusters(NamedTuple):
    """What the head compares, over the queries of all student views (M = sum of B * Q).

    Attributes:
        queries: Tokens z (M, D).
        modes: Their cluster representatives in their own view, SA(z, Z) (M, D).
        positives: Their modes in the teacher view, CA(z, Z+) (M, D), without gradient.
        attended_tokens: Scalar, mean over the queries of exp(entropy of the self-attention): the
            effective number of tokens in a cluster.
    """

    queries: Tensor
    modes: Tensor
    positives: Tensor
    attended_tokens: Tensor


@MODELS.register_module()
class MeanShiftNeck(BaseModule):
    """Retrieve every query's mode in its own view and in the teacher's (paper, Eq. 4 and 12).

    Non-parametric. The scale sets the cluster size: after the last LayerNorm a token's logit with
    itself is near ``D * scale``, so another width D needs another scale.

    Args:
        self_scale: Factor of the logits of self-attention; the release has 0.1 / sqrt(384).
        cross_scale: The same for cross-attention; the release has 0.2 / sqrt(384). Smaller than
            ``self_scale`` collapses training (released code).
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

    Raises:
        ConfigError: A scale or window is not positive, a window kind is unknown or missing, or
            ``previous_mix`` is outside [0, 1].
    """

    def __init__(
        self,
        self_scale: float,
        cross_scale: float,
        window_sizes: dict[str, int] | None = None,
        random_queries: bool = False,
        positional_positives: bool = False,
        previous_mix: float = 0.5,
        previous_sharpness: float = 100.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
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

    def forward(self, pairs: Sequence[ViewPair]) -> Clusters:
        """Sample queries in every student view and retrieve their modes.

        Args:
            pairs: One entry for each student view.

        Returns:
            Clusters: Queries, modes and positives of all views, concatenated.
        """
        return self._concatenate([self._cluster(pair) for pair in pairs])

    def _cluster(self, pair: ViewPair) -> Clusters:
        indices = window_queries(
            pair.student_grid,
            self.window_sizes[pair.kind],
            len(pair.student),
            self.random_queries,
        ).to(pair.student.device, non_blocking=True)
        queries = gather_tokens(pair.student, indices)
        modes = mean_shift(queries, pair.student, self.self_scale)
        with torch.no_grad():
            positives = self.positives(pair, indices, queries)
            attended = effective_number(mean_shift_weights(queries, pair.student, self.self_scale))
        return Clusters(*(x.flatten(0, 1) for x in (queries, modes, positives, attended)))

    def positives(self, pair: ViewPair, indices: Tensor, queries: Tensor) -> Tensor:
        """Teacher features that the queries of one view should agree with.

        Args:
            pair: The view, and that of the teacher.
            indices: Which of the student's tokens the queries are (B, Q).
            queries: (B, Q, D).

        Returns:
            Tensor: (B, Q, D).

        Raises:
            ConfigError: Positional positives without crop boxes.
        """
        if self.positional_positives:
            if pair.boxes is None:
                raise ConfigError(
                    'positional positives need the crop box of every view: data samples with '
                    '`view_boxes`, as MultiViewPreprocessor makes them'
                )
            points = project_queries(indices, pair.student_grid, *pair.boxes)
            return sample_tokens(pair.teacher, pair.teacher_grid, points)
        if pair.previous is None:
            return mean_shift(queries, pair.teacher, self.cross_scale)
        earlier_student, earlier_teacher = pair.previous
        earlier = mean_shift_weights(
            gather_tokens(earlier_student, indices), earlier_teacher, self.cross_scale
        )
        weights = self.previous_mix * mean_shift_weights(queries, pair.teacher, self.cross_scale)
        weights = weights + (1 - self.previous_mix) * sharpen(earlier, self.previous_sharpness)
        return (weights / weights.sum(dim=-1, keepdim=True)) @ pair.teacher.to(weights.dtype)

    @staticmethod
    def _concatenate(parts: Sequence[Clusters]) -> Clusters:
        joined = Clusters(*(torch.cat(field) for field in zip(*parts)))
        return joined._replace(attended_tokens=joined.attended_tokens.mean())
