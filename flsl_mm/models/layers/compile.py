"""`torch.compile` that gives way."""

from collections.abc import Callable

import torch
from mmengine.logging import MMLogger
from torch import nn

from ...utils.errors import ConfigError


def is_compiling() -> bool:
    """Whether this code is being compiled, rather than run."""
    if hasattr(torch.compiler, 'is_compiling'):
        return torch.compiler.is_compiling()
    return torch._dynamo.is_compiling()  # torch < 2.3


class CompiledFunction:
    """A function compiled at its first call; run as it is, after one warning, where that fails.

    It is compiled as one graph. What would break it in pieces, and more recompilations than torch
    allows, are failures too, at whatever call they happen: torch by itself would go on uncompiled
    and not say so.

    Args:
        function: What to compile.
        name: For the warning.
        options: Arguments of :func:`torch.compile`.
    """

    def __init__(self, function: Callable, name: str, **options) -> None:
        self.function = function
        self.name = name
        self.compiled = torch.compile(function, fullgraph=True, **options)

    def __call__(self, *args, **kwargs):
        """Call the function."""
        if self.compiled is None:
            return self.function(*args, **kwargs)
        try:
            return self.compiled(*args, **kwargs)
        except Exception as error:  # a missing compiler is any of a dozen types
            # An error of the function itself comes again here, with a plain traceback.
            result = self.function(*args, **kwargs)
            self.compiled = None
            cause = error.__cause__ or error
            reason = f'{type(cause).__name__}: {cause}'.splitlines()[0]
            MMLogger.get_current_instance().warning(
                f'{self.name} cannot be compiled here and runs uncompiled ({reason})'
            )
            return result


def compile_networks(model: nn.Module, **options) -> None:
    """Compile the backbones of student and teacher, where nearly all of the arithmetic is.

    Views have the same few sizes in every iteration, so shapes are static, and each network is one
    graph, in distributed training too: torch's way to divide it at the buckets of gradients would
    make many of it. Parameters and their names stay as they are, and so do the networks themselves:
    whatever evaluates them runs uncompiled. The photometry of views is compiled too, elsewhere than
    on a CPU, and by the ``backend`` alone of the options.

    Args:
        model: A :class:`StudentTeacher`, in place.
        options: Arguments of :func:`torch.compile`, such as ``mode='max-autotune'``.

    Raises:
        ConfigError: This release of torch switches the hooks of optimizers off when it compiles:
            the teacher, which moves by one, would stand still.
    """
    options = dict(dynamic=False, **options)
    torch._dynamo.config.optimize_ddp = False
    for name, network in dict(student=model.backbone, teacher=model.teacher.backbone).items():
        model.compiled[name] = CompiledFunction(
            network.forward_tokens, f'the {name} backbone', **options
        )
    if hasattr(model.data_preprocessor, 'compile_photometry'):
        # No mode: graphs of a GPU would write the views of one size over those of another.
        shared = {key: options[key] for key in ('dynamic', 'backend') if key in options}
        model.data_preprocessor.compile_photometry(**shared)
    if not _hooks_of_optimizers_run():
        raise ConfigError(
            f'torch {torch.__version__} switches the hooks of optimizers off when it compiles, and '
            'the teacher would not move: set compile=False, or use a later torch (tried: 2.11)'
        )


def _hooks_of_optimizers_run() -> bool:
    parameter = nn.Parameter(torch.zeros(1))
    parameter.grad = torch.zeros(1)
    optimizer = torch.optim.AdamW([parameter])
    calls = []
    optimizer.register_step_post_hook(lambda *_: calls.append(1))
    optimizer.step()
    return bool(calls)
