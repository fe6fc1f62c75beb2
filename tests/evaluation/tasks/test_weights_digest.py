import torch

from flsl_mm.evaluation.tasks.frozen_task import weights_digest
from flsl_mm.models import FLSLVisionTransformer


def build_vit(num_heads: int = 2) -> FLSLVisionTransformer:
    arch = dict(embed_dims=16, num_layers=1, num_heads=num_heads, feedforward_channels=16)
    torch.manual_seed(0)
    vit = FLSLVisionTransformer(arch, img_size=16, patch_size=8)
    vit.init_weights()
    return vit.requires_grad_(False)


def test_the_projection_head_does_not_count():
    vit = build_vit()
    vit.head = torch.nn.Linear(16, 4)
    assert weights_digest(vit) == weights_digest(build_vit())


def test_weights_and_attention_heads_count():
    changed = build_vit()
    changed.ln1.weight[0] = 2
    digests = {weights_digest(vit) for vit in (build_vit(), changed, build_vit(num_heads=4))}
    assert len(digests) == 3
