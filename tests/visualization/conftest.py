import numpy as np
import pytest
import torch

RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.fixture
def two_colors():
    """Makes an image (H, W, 3) that is red but for a blue lower right rectangle."""

    def make(height: int, width: int, blue_height: int, blue_width: int) -> np.ndarray:
        image = np.full((height, width, 3), RED, dtype=np.uint8)
        image[height - blue_height :, width - blue_width :] = BLUE
        return image

    return make


@pytest.fixture(scope='session')
def color_vit():
    """A ViT whose tokens are orthogonal for red and blue patches, in every block.

    Its blocks add nothing, and attend from a token to those of the same color only.
    """
    from flsl_mm.models import FLSLVisionTransformer
    from flsl_mm.utils.images import normalize

    arch = dict(embed_dims=8, num_layers=4, num_heads=2, feedforward_channels=8)
    vit = FLSLVisionTransformer(arch, img_size=32, patch_size=4, out_type='raw').eval()
    pixels = normalize(torch.tensor([RED, BLUE])[..., None, None])[..., 0, 0]  # (2, 3)
    inputs = torch.cat([pixels, torch.ones(2, 1)], dim=1)
    # Both colors, in both heads; of zero mean, as the LayerNorms make them anyway.
    features = torch.tensor([[1.0, -1, 0, 0] * 2, [0.0, 0, 1, -1] * 2])
    weights = torch.linalg.lstsq(inputs.double(), features.double()).solution.float()  # (4, 8)
    with torch.no_grad():
        for name, parameter in vit.named_parameters():
            if 'ln' not in name:
                parameter.zero_()
        projection = vit.patch_embed.projection
        projection.weight.copy_(weights[:3].T[..., None, None].expand(8, 3, 4, 4) / 16)
        projection.bias.copy_(weights[3])
        for layer in vit.layers:
            layer.attn.qkv.weight[:16].copy_(torch.cat([torch.eye(8) * 10] * 2))
    return vit.requires_grad_(False)


@pytest.fixture(scope='session')
def small_vit():
    """A ViT with random weights, 3 blocks and patches of 8 pixels."""
    from flsl_mm.models import FLSLVisionTransformer

    arch = dict(embed_dims=32, num_layers=3, num_heads=4, feedforward_channels=64)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vit = FLSLVisionTransformer(arch, img_size=48, patch_size=8, out_type='raw').eval()
        vit.init_weights()
    return vit.requires_grad_(False)
