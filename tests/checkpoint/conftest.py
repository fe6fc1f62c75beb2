"""A small ViT, and the same weights in every layout that others write."""

import argparse

import pytest
import torch

from flsl_mm.models import FLSLVisionTransformer

WIDTH, DEPTH, HEADS = 24, 2, 3


@pytest.fixture(scope='session')
def build_vit():
    """Builds small backbones with random weights in every parameter."""

    def build(seed=0, img_size=32, patch_size=8, **arch):
        arch = dict(
            dict(embed_dims=WIDTH, num_layers=DEPTH, num_heads=HEADS, feedforward_channels=40),
            **arch,
        )
        vit = FLSLVisionTransformer(
            arch=arch, img_size=img_size, patch_size=patch_size, out_type='raw'
        )
        generator = torch.Generator().manual_seed(seed)
        for parameter in vit.state_dict().values():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
        return vit.eval()

    return build


def to_timm(state: dict) -> dict:
    names = (
        ('layers.0.0.', 'fc1.'),
        ('ffn.layers.1.', 'ffn.fc2.'),
        ('ffn.', 'mlp.'),
        ('layers.', 'blocks.'),
        ('ln', 'norm'),
        ('projection', 'proj'),
    )
    renamed = {}
    for name, tensor in state.items():
        for ours, theirs in names:
            name = name.replace(ours, theirs)
        name = name.replace('norm1', 'norm') if name.startswith('norm') else name
        renamed[name] = tensor
    return renamed


def to_transformers(state: dict) -> dict:
    names = (
        ('blocks.', 'encoder.layer.'),
        ('norm1', 'layernorm_before'),
        ('norm2', 'layernorm_after'),
        ('attn.proj', 'attention.output.dense'),
        ('attn.q.', 'attention.attention.query.'),
        ('attn.k.', 'attention.attention.key.'),
        ('attn.v.', 'attention.attention.value.'),
        ('mlp.fc1', 'intermediate.dense'),
        ('mlp.fc2', 'output.dense'),
        ('pos_embed', 'embeddings.position_embeddings'),
        ('cls_token', 'embeddings.cls_token'),
        ('patch_embed.proj', 'embeddings.patch_embeddings.projection'),
    )
    renamed = {}
    for name, tensor in split_qkv(with_prefix_rows(to_timm(state), 1)).items():
        for ours, theirs in names:
            name = name.replace(ours, theirs)
        name = name.replace('norm.', 'layernorm.') if name.startswith('norm.') else name
        renamed[f'vit.{name}'] = tensor
    return {**renamed, 'classifier.weight': torch.zeros(10, WIDTH)}


def with_prefix_rows(state: dict, rows: int, **tokens: int) -> dict:
    table = state['pos_embed']
    extra = torch.full((1, rows, table.shape[2]), 7.0)
    tokens = tokens or dict(cls_token=1)
    return {
        **state,
        'pos_embed': torch.cat([extra, table], dim=1),
        **{name: torch.full((1, n, table.shape[2]), 9.0) for name, n in tokens.items()},
    }


def split_qkv(state: dict) -> dict:
    out = {}
    for name, tensor in state.items():
        if '.qkv.' in name:
            parts = tensor.chunk(3)
            out.update({name.replace('qkv', p): t for p, t in zip('qkv', parts)})
        else:
            out[name] = tensor
    return out


def under(prefix: str, state: dict) -> dict:
    return {f'{prefix}{name}': tensor for name, tensor in state.items()}


def head(seed: int) -> dict:
    generator = torch.Generator().manual_seed(seed)
    shapes = {'mlp.0.weight': (16, WIDTH), 'mlp.0.bias': (16,), 'prototypes.weight': (12, 16)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def released_head(seed: int) -> dict:
    state = head(seed)
    state['last_layer.weight_v'] = state.pop('prototypes.weight')
    return {**state, 'last_layer.weight_g': torch.ones(12, 1)}


def ours(student, teacher):
    state = {
        **under('backbone.', student),
        **under('head.', head(1)),
        **under('teacher.backbone.', teacher),
        **under('teacher.head.', head(2)),
    }
    return dict(meta=dict(epoch=3, iter=30), state_dict=state, optimizer={}, param_schedulers=[])


def released(student, teacher, **extra):
    def network(state, seed):
        state = {**to_timm(state), 'cls_token': torch.zeros(1, 1, state['pos_embed'].shape[2])}
        return {**under('backbone.', state), **under('head.', released_head(seed))}

    return dict(
        dict(
            student=under('module.', network(student, 1)),
            teacher=network(teacher, 2),
            epoch=300,
            args=argparse.Namespace(arch='vit_small', patch_size=8),
            optimizer={},
            flsl_loss={},
        ),
        **extra,
    )


def released_with_class_row(student, teacher):
    file = released(student, teacher)
    for name, prefix in (('student', 'module.backbone.'), ('teacher', 'backbone.')):
        table = file[name][f'{prefix}pos_embed']
        file[name][f'{prefix}pos_embed'] = torch.cat([table[:, :1] * 0 + 7, table], dim=1)
    return file


def dino(student, teacher):
    def network(state, seed):
        state = with_prefix_rows(to_timm(state), 1)
        return {**under('backbone.', state), **under('head.', released_head(seed))}

    return dict(
        student=under('module.', network(student, 1)),
        teacher=network(teacher, 2),
        args=argparse.Namespace(arch='vit_small'),
        dino_loss=dict(center=torch.zeros(1, 12)),
    )


def mocov3(student, teacher):
    state = {}
    for name, weights in (('base', student), ('momentum', teacher)):
        weights = with_prefix_rows(to_timm(weights), 1)
        state.update(under(f'module.{name}_encoder.', weights))
        state[f'module.{name}_encoder.head.0.weight'] = torch.zeros(8, WIDTH)
    return dict(epoch=300, arch='vit_small', state_dict=state, optimizer={})


def mmpretrain_mocov3(student, teacher):
    state = under('backbone.', with_prefix_rows(student, 1))
    state.update(under('momentum_encoder.module.0.', with_prefix_rows(teacher, 1)))
    neck = {'neck.fc0.weight': torch.zeros(8, WIDTH), 'momentum_encoder.steps': torch.tensor(7)}
    neck['momentum_encoder.module.1.fc0.weight'] = torch.zeros(8, WIDTH)
    return dict(meta=dict(epoch=3), state_dict={**state, **neck})


def mae(state, _):
    decoder = {'mask_token': torch.zeros(1, 1, 8), 'decoder_blocks.0.norm1.weight': torch.ones(8)}
    return dict(model={**with_prefix_rows(to_timm(state), 1), **decoder})


def detectron2(state, _):
    trunk = to_timm(state)
    trunk['pos_embed'] = torch.cat([trunk['pos_embed'][:, :1] * 0, trunk['pos_embed']], dim=1)
    trunk['blocks.0.attn.rel_pos_h'] = torch.zeros(7, WIDTH // HEADS)
    rest = {'simfp_2.0.weight': torch.zeros(WIDTH, 8, 2, 2)}
    return dict(model={**under('backbone.net.', trunk), **under('backbone.', rest)})


def fc_norm(state, _):
    return {
        n.replace('norm.', 'fc_norm.', n.startswith('norm.')): t for n, t in to_timm(state).items()
    }


# name: (file of student and teacher weights, layout in the report, has both networks)
LAYOUTS = {
    'ours': (ours, 'FLSL', True),
    'released': (released, 'released FLSL', True),
    'released, class row': (released_with_class_row, 'released FLSL', True),
    'DINO': (dino, 'DINO', True),
    'DINO teacher alone': (
        lambda s, t: under('module.', dino(s, s)['teacher']),
        'timm',
        False,
    ),
    'DINO backbone': (lambda s, _: with_prefix_rows(to_timm(s), 1), 'timm', False),
    'MoCo v3': (mocov3, 'MoCo v3', True),
    'MoCo v3 of mmpretrain': (mmpretrain_mocov3, 'MoCo v3 of mmpretrain', True),
    'MAE': (mae, 'MAE', False),
    'MAE encoder': (lambda s, _: dict(model=with_prefix_rows(to_timm(s), 1)), 'timm', False),
    'timm': (lambda s, _: {**to_timm(s), 'head.weight': torch.zeros(5, WIDTH)}, 'timm', False),
    'timm, registers': (
        lambda s, _: with_prefix_rows(to_timm(s), 5, cls_token=1, reg_token=4),
        'timm',
        False,
    ),
    'timm, registers without rows': (
        lambda s, _: with_prefix_rows(to_timm(s), 0, reg_token=4),
        'timm',
        False,
    ),
    'timm, split qkv': (lambda s, _: split_qkv(to_timm(s)), 'timm', False),
    'timm, fc_norm': (fc_norm, 'timm', False),
    'timm, DDP': (lambda s, _: dict(state_dict=under('module.', to_timm(s))), 'timm', False),
    'transformers': (lambda s, _: to_transformers(s), 'transformers', False),
    'mmpretrain': (
        lambda s, _: dict(meta={}, state_dict=under('backbone.', with_prefix_rows(s, 1))),
        'mmpretrain',
        False,
    ),
    'mmpretrain backbone': (lambda s, _: dict(s), 'mmpretrain', False),
    'detectron2': (detectron2, 'detectron2 ViTDet', False),
}


@pytest.fixture(scope='session')
def layouts() -> dict:
    """Every layout: how to arrange two state dicts of ours in it, its name, has both networks."""
    return LAYOUTS


@pytest.fixture(params=list(LAYOUTS), scope='session')
def layout(request) -> tuple:
    """One layout after the other."""
    return LAYOUTS[request.param]
