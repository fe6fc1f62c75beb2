"""Signs of collapse that need no labels."""

from typing import Any

import torch

from ...models import FrozenViT
from ...models.mean_shift import mean_shift
from ...models.place import PLACES, at_places, place_moments, place_share
from ...registry import FROZEN_TASKS
from ..functional.collapse import prototype_use, rankme_of_gram, similarity_contrast
from .dense_images import DenseImage
from .dense_task import DenseTask
from .frozen_task import sum_processes


@FROZEN_TASKS.register_module()
class CollapseMonitors(DenseTask):
    """RankMe, contrast of aggregated similarity, share of the place, and use of the prototypes.

    All over the tokens of the images' last block. The use of prototypes is there for networks that
    have their projection head as ``vit.head`` (:func:`build_vit`): the first choice of each token's
    mode in its image, which is what FLSL trains the head on. The share of the place is
    :func:`.place_share` over 14 x 14 places of each image, of which the nearest token is taken.

    Args:
        self_scale: Factor of the logits that lead to the modes, where the head's ``self_scale`` is
            None; the release's.
        args, kwargs: See :class:`DenseTask`; ``train`` and labels are not used.
    """

    name = 'collapse'
    headline = 'RankMe'
    needs_labels = False

    def __init__(self, *args, self_scale: float = 0.1 / 384**0.5, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.self_scale = self_scale

    def start(self, vit: FrozenViT) -> None:
        """Forget earlier images."""
        device = next(vit.parameters()).device
        self._head = getattr(vit, 'head', None)
        double = dict(dtype=torch.double, device=device)
        self._gram = torch.zeros(vit.embed_dims, vit.embed_dims, **double)
        self._contrast = torch.zeros((), **double)
        self._places = torch.zeros(PLACES**2, vit.embed_dims, **double)
        self._place_sums = torch.zeros(2, **double)
        prototypes = 0 if self._head is None else self._head.prototypes.out_features
        self._choices = torch.zeros(prototypes, dtype=torch.long, device=device)

    def update(self, image: DenseImage) -> None:
        """Add the tokens of an image."""
        tokens = image.tokens.double()
        self._gram += tokens.T @ tokens
        self._contrast += similarity_contrast(tokens[None])[0]
        places, sums = place_moments(at_places(tokens, image.grid, PLACES)[None])
        self._places += places
        self._place_sums += sums
        if self._head is not None:
            scale = self._head.self_scale or self.self_scale
            modes = mean_shift(image.tokens[None], image.tokens[None], scale)[0]
            first = self._head(modes).argmax(dim=1)
            self._choices.index_add_(0, first, torch.ones_like(first))

    def finish(self) -> dict[str, Any]:
        """``RankMe``, ``ASS_contrast``, ``place_share``, and perhaps the use of prototypes."""
        numbers: dict[str, Any] = dict(
            RankMe=rankme_of_gram(sum_processes(self._gram)),
            ASS_contrast=float(sum_processes(self._contrast)) / len(self.val),
            place_share=float(
                place_share(sum_processes(self._places), sum_processes(self._place_sums))
            ),
        )
        if self._head is not None:
            numbers.update(prototype_use(sum_processes(self._choices)))
        return numbers
