import logging

import pytest
import torch
from mmengine.utils import digit_version

from flsl_mm.models.layers.compile import CompiledFunction, compile_networks
from flsl_mm.utils.errors import ConfigError


def views():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 3, s, s, generator=generator).double() for s in (64, 64, 32)]


def objective(model):
    return sum(v for k, v in model.loss(views()).items() if 'loss' in k)


@pytest.mark.skipif(
    digit_version(torch.__version__) < digit_version('2.3'), reason='compiling is refused there'
)
def test_a_compiled_model_has_the_same_losses_and_gradients(build_flsl):
    torch.manual_seed(0)
    model = build_flsl()
    model.init_weights()
    model.double()
    names = set(model.state_dict())
    plain = objective(model)
    plain.backward()
    expected = {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}
    model.zero_grad()
    # This backend traces forward and backward as the real one does, and needs no C++ compiler.
    compile_networks(model, backend='aot_eager')
    compiled = objective(model)
    compiled.backward()
    assert model.backbone.forward_tokens.compiled is not None
    torch.testing.assert_close(compiled, plain)
    for name, grad in expected.items():
        torch.testing.assert_close(dict(model.named_parameters())[name].grad, grad, msg=name)
    assert set(model.state_dict()) == names


def test_a_torch_whose_compiler_would_stop_the_teacher_is_refused(build_flsl, monkeypatch):
    def step(optimizer):
        """As torch 2.1 leaves it: without hooks, and marked as having them."""

    step.hooked = True
    monkeypatch.setattr(torch.optim.AdamW, 'step', step)
    with pytest.raises(ConfigError, match='the teacher would not move: set compile=False'):
        compile_networks(build_flsl(), backend='eager')


def test_where_nothing_can_be_compiled_the_function_runs_after_one_warning(caplog):
    def no_compiler(graph, inputs):
        raise RuntimeError('no C++ compiler found')

    function = CompiledFunction(lambda x: x + 1, 'the network', backend=no_compiler)
    with caplog.at_level(logging.WARNING):
        results = [function(torch.ones(2)) for _ in range(3)]
    assert all(torch.equal(x, torch.full((2,), 2.0)) for x in results)
    assert function.compiled is None


def test_an_error_of_the_function_itself_is_raised():
    def broken(x):
        raise ValueError("the user's")

    with pytest.raises(ValueError, match='the user'):
        CompiledFunction(broken, 'the network', backend='eager')(torch.ones(1))
