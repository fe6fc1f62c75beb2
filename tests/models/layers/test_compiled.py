import logging

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.utils import digit_version
from torch._dynamo.utils import counters
from torch.nn.parallel import DistributedDataParallel

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
    assert all(function.compiled is not None for function in model.compiled.values())
    torch.testing.assert_close(compiled, plain)
    for name, grad in expected.items():
        torch.testing.assert_close(dict(model.named_parameters())[name].grad, grad, msg=name)
    assert set(model.state_dict()) == names


@pytest.fixture
def one_process(tmp_path):
    """A distributed run of one process."""
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{tmp_path}/rendezvous', rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(
    digit_version(torch.__version__) < digit_version('2.5'), reason='older releases break graphs'
)
@pytest.mark.parametrize('distributed', [False, True])
def test_student_and_teacher_are_one_graph_each(build_flsl, request, distributed):
    """With all that a recipe may have; evaluations in between compile nothing."""
    model = build_flsl(backbone=dict(drop_path_rate=0.3, position_window=(0.25, 1.0)))
    model.init_weights()
    model.train()
    compile_networks(model, backend='aot_eager')
    run = model
    if distributed:
        request.getfixturevalue('one_process')
        run = DistributedDataParallel(model, broadcast_buffers=False)
    torch._dynamo.reset()
    counters.clear()
    inputs = [view.float() for view in views()]
    for size in (64, 96, 128):
        with torch.autocast('cpu', torch.bfloat16):
            losses = run(inputs, mode='loss')
        sum(v for k, v in losses.items() if 'loss' in k).backward()
        with torch.no_grad():
            model.teacher.backbone.forward_tokens([torch.randn(3, 3, size, size)])
    assert counters['stats']['unique_graphs'] == 2 and not counters['graph_break']
    assert all(function.compiled is not None for function in model.compiled.values())


@pytest.fixture
def warnings_of_the_log():
    records = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    logger = MMLogger.get_instance('compiling')
    logger.addHandler(handler)
    return records


@pytest.mark.skipif(
    digit_version(torch.__version__) < digit_version('2.6'), reason='older releases do not tell'
)
@pytest.mark.parametrize(
    'function',
    [lambda x: x + 1, lambda x: x + 1 if x.sum() > 4 else x],
    ids=['too many shapes', 'a graph in pieces'],
)
def test_where_compiling_is_given_up_later_the_log_says_so(warnings_of_the_log, function):
    compiled = CompiledFunction(function, 'the network', backend='eager', dynamic=False)
    with torch._dynamo.config.patch(recompile_limit=2):
        for size in (1, 2, 3, 4, 5):
            x = torch.ones(size)
            assert torch.equal(compiled(x), function(x))
    assert compiled.compiled is None
    [line] = warnings_of_the_log
    assert line.startswith('the network cannot be compiled here and runs uncompiled (')


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
