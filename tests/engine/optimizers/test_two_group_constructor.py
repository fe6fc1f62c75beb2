from types import SimpleNamespace

import pytest
import torch

from flsl_mm.engine import FLSLOptimWrapper, TwoGroupConstructor


def build(model, **kwargs) -> FLSLOptimWrapper:
    config = dict(
        type='FLSLOptimWrapper', optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.04), **kwargs
    )
    return TwoGroupConstructor(config)(model)


def test_only_matrices_decay(build_flsl):
    model = build_flsl()
    decayed, others = build(model).optimizer.param_groups
    names = {id(p): n for n, p in model.named_parameters()}
    decayed_names = {names[id(p)] for p in decayed['params']}
    other_names = {names[id(p)] for p in others['params']}
    assert decayed['weight_decay'] == 0.04 and others['weight_decay'] == 0
    assert 'head.prototypes.weight' in decayed_names
    assert 'backbone.patch_embed.projection.weight' in decayed_names
    assert all(n.endswith('bias') or '.ln' in n for n in other_names)
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert decayed_names | other_names == trained
    assert not any('teacher' in n or 'pos_embed' in n for n in trained)


def test_the_logged_learning_rate_is_the_real_one(build_flsl):
    wrapper = build(build_flsl())
    for group in wrapper.optimizer.param_groups:
        group['lr'] *= 2  # as scaling by the batch size does
    assert wrapper.get_lr() == dict(lr=[2e-3, 2e-3])


def test_precision_follows_the_device(build_flsl):
    model = build_flsl()
    assert build(model).dtype == torch.float32
    assert build(model, precision='bfloat16').dtype == torch.bfloat16
    with pytest.raises(ValueError, match='float16 needs a GPU'):
        build(model, precision='float16')
    with pytest.raises(ValueError, match='none of'):
        build(model, precision='fp16')


@pytest.mark.parametrize('capability, dtype', [((7, 0), torch.float16), ((8, 0), torch.bfloat16)])
def test_gpus_without_bfloat16_train_in_float16(build_flsl, monkeypatch, capability, dtype):
    wrapper = build(build_flsl())
    monkeypatch.setattr('torch.cuda.get_device_capability', lambda: capability)
    wrapper.device_type = 'cuda'
    assert wrapper._resolve('auto') == dtype


def test_a_run_can_resume_in_another_precision(build_flsl):
    wrapper = build(build_flsl())
    state = wrapper.state_dict()
    wrapper.scaler = torch.amp.GradScaler('cpu', enabled=True)
    wrapper.load_state_dict(state)


def test_settings_for_single_parameters_are_refused(build_flsl):
    optimizer = dict(type='AdamW', lr=1e-3, weight_decay=0.04)
    config = dict(type='FLSLOptimWrapper', optimizer=optimizer)
    with pytest.raises(ValueError, match='no paramwise_cfg'):
        TwoGroupConstructor(config, dict(bias_decay_mult=0.0))(build_flsl())


def test_bfloat16_runs_the_backbone_in_bfloat16(build_flsl):
    model = build_flsl()
    seen = []
    model.backbone.layers[0].attn.qkv.register_forward_hook(
        lambda m, i, out: seen.append(out.dtype)
    )
    wrapper = build(model, precision='bfloat16')
    with wrapper.optim_context(model):
        model.loss([torch.randn(2, 3, 64, 64)] * 2)
    assert seen == [torch.bfloat16]


def test_a_fused_optimizer_falls_back_where_there_is_none(monkeypatch):
    from flsl_mm.engine.optimizers import make_optimizer

    class Old(torch.optim.AdamW):
        def __init__(self, params, fused=False, **kwargs) -> None:
            super().__init__(params, fused=fused, **kwargs)
            if fused:  # as torch 2.1 does it: its groups are already filled in
                raise RuntimeError('`fused=True` requires all the params to be on a GPU')

    said = []
    logger = SimpleNamespace(warning=said.append)
    getter = SimpleNamespace(get_current_instance=lambda: logger)
    monkeypatch.setattr(make_optimizer, 'MMLogger', getter)
    config = dict(optimizer=dict(type=Old, lr=1e-3, fused=True))
    wrapper = TwoGroupConstructor(config)(torch.nn.Linear(2, 2))
    assert isinstance(wrapper.optimizer, Old) and len(said) == 1
    assert not any(group['fused'] for group in wrapper.optimizer.param_groups)
    with pytest.raises(RuntimeError, match='requires'):
        Old([torch.nn.Parameter(torch.ones(1))], fused=True)
