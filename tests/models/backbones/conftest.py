import copy

import pytest
import torch


@pytest.fixture
def gradients_with_and_without_checkpointing():
    """Gives for each parameter of a network of maps its name and both gradients, of equal draws."""

    def gradients(plain: torch.nn.Module, image: torch.Tensor):
        recomputing = copy.deepcopy(plain)
        recomputing.with_cp = True
        for net in (plain, recomputing):
            torch.manual_seed(1)
            sum(level.square().mean() for level in net(image)).backward()
        for (name, a), b in zip(plain.named_parameters(), recomputing.parameters()):
            yield name, a.grad, b.grad

    return gradients
