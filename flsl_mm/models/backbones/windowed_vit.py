"""mmpretrain's ViTs of MAE and MoCo v3 with random windows of their position table."""

from collections.abc import Sequence

from mmpretrain.models.selfsup.mae import MAEViT
from mmpretrain.models.selfsup.mocov3 import MoCoV3ViT
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from ..layers.positions import check_sides, draw_windows, read_windows


class WindowedTable:
    """A ViT of mmpretrain whose training reads its position table in random windows.

    As :class:`FLSLVisionTransformer` does: each image of each pass has a window of its own. What
    the network adds itself is the whole table, so the difference is added to the patches before.
    In evaluation, and with None, nothing differs.

    Args:
        position_window: Smallest and largest side, as shares of that of the table, or None.
        args, kwargs: Of the network.

    Raises:
        ConfigError: ``position_window`` is no range inside (0, 1].
    """

    def __init__(self, *args, position_window: Sequence[float] | None = None, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.position_window = check_sides(type(self).__name__, position_window)
        if self.position_window is not None:
            self.patch_embed.register_forward_hook(self._move_windows)

    def _move_windows(
        self, module: nn.Module, inputs: tuple, output: tuple[Tensor, Sequence[int]]
    ) -> tuple[Tensor, Sequence[int]] | None:
        """Patches (B, N, D) that get the positions of windows once the whole table is added."""
        if not self.training:
            return None
        tokens, grid = output
        full, extra = tuple(self.patch_resolution), self.num_extra_tokens
        whole = self.resize_pos_embed(self.pos_embed, full, grid, self.interpolate_mode, extra)
        windows = draw_windows(len(tokens), self.position_window)
        own = read_windows(self.pos_embed[:, extra:], full, tuple(grid), windows)
        return tokens + (own - whole[:, extra:]), grid


@MODELS.register_module()
class WindowedMAEViT(WindowedTable, MAEViT):
    """:class:`WindowedTable` for MAE; the decoder keeps the whole table: it says what to paint."""


@MODELS.register_module()
class WindowedMoCoV3ViT(WindowedTable, MoCoV3ViT):
    """:class:`WindowedTable` for MoCo v3, for its momentum encoder too."""
