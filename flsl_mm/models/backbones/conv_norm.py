"""Convolution followed by a channel LayerNorm."""

from mmpretrain.models.utils import LayerNorm2d
from torch import Tensor, nn


class ConvNorm(nn.Conv2d):
    """Convolution without bias whose ``norm`` follows; named as in detectron2's checkpoints.

    Args:
        in_channels: Input channels.
        out_channels: Output channels.
        kernel_size: Odd side of the kernel; the resolution is kept.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False
        )
        self.norm = LayerNorm2d(out_channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H, W)."""
        return self.norm(super().forward(x))
