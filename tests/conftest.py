"""Fixtures shared by all tests."""

from pathlib import Path

import pytest

PROJECT_ROOT = Path(__file__).parents[1]


@pytest.fixture(scope='session')
def project_root() -> Path:
    """The folder that holds ``setup.cfg``, ``configs`` and ``tools``."""
    return PROJECT_ROOT


@pytest.fixture(scope='session')
def shared_dir() -> Path:
    """Golden values and sample images beside the project; skips where they are absent."""
    path = PROJECT_ROOT.parent / 'shared'
    if not path.is_dir():
        pytest.skip('the golden values and sample images are not beside this checkout')
    return path


@pytest.fixture(scope='session')
def golden_dir(shared_dir: Path) -> Path:
    """Numbers computed by independent implementations."""
    return shared_dir / 'golden'


@pytest.fixture(scope='session')
def build_flsl():
    """Builds a small FLSL model with the layout of the golden one; overrides by part."""
    from flsl_mm.models import FLSL

    def build(backbone=(), neck=(), head=(), **kwargs) -> FLSL:
        arch = dict(embed_dims=48, num_layers=2, num_heads=3, feedforward_channels=192)
        backbone = dict(
            dict(type='FLSLVisionTransformer', arch=arch, img_size=128, patch_size=16),
            **dict(backbone),
        )
        neck = dict(
            dict(type='MeanShiftNeck', self_scale=0.1 / 384**0.5, cross_scale=0.2 / 384**0.5),
            **dict(neck),
        )
        head = dict(
            dict(
                type='FLSLHead',
                in_channels=48,
                num_prototypes=64,
                hidden_channels=64,
                bottleneck_channels=32,
            ),
            **dict(head),
        )
        return FLSL(backbone=backbone, neck=neck, head=head, **kwargs)

    return build
