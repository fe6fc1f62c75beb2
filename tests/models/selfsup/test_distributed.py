"""The global batch: two processes with half of it each, against one process with all of it."""

import pytest
import torch
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

from flsl_mm.models import FLSL
from flsl_mm.models.necks.queries import draw_places

OF_ALL_PROCESSES = ('loss_volume', 'entropy_p_bar')


def make_model(build, parts):
    torch.manual_seed(0)
    model = build(**parts)
    model.init_weights()
    return model.double()


def make_views() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(4, 3, s, s, generator=generator).double() for s in (64, 64, 32)]


def run(model, inputs) -> dict[str, torch.Tensor]:
    losses = model(inputs, mode='loss')
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    return {k: v.detach() for k, v in losses.items()}


def worker(rank: int, build, parts, rendezvous: str, results: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{rendezvous}', rank=rank, world_size=2
    )
    model = make_model(build, parts)
    wrapped = DistributedDataParallel(model, broadcast_buffers=False)
    losses = run(wrapped, [view[2 * rank : 2 * rank + 2] for view in make_views()])
    grads = {k: p.grad for k, p in model.named_parameters() if p.requires_grad}
    torch.save(
        dict(losses=losses, grads=grads, buffers=dict(model.named_buffers())), f'{results}.{rank}'
    )
    torch.distributed.destroy_process_group()


def start_two(build, tmp_path, parts) -> list[dict]:
    """What each of two processes finds."""
    rendezvous, results = tmp_path / 'rendezvous', tmp_path / 'result'
    mp.start_processes(
        worker, (build, parts, str(rendezvous), str(results)), nprocs=2, start_method='fork'
    )
    return [torch.load(f'{results}.{rank}') for rank in range(2)]


def check(build, tmp_path, **parts) -> None:
    halves = start_two(build, tmp_path, parts)
    model = make_model(build, parts)
    whole = run(model, make_views())
    for name in whole:
        if name in OF_ALL_PROCESSES:
            for half in halves:
                torch.testing.assert_close(half['losses'][name], whole[name], rtol=1e-9, atol=0)
        elif 'loss' in name:
            mean = (halves[0]['losses'][name] + halves[1]['losses'][name]) / 2
            torch.testing.assert_close(mean, whole[name], rtol=1e-9, atol=0)
    for half in halves:
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                torch.testing.assert_close(
                    half['grads'][name], parameter.grad, rtol=1e-7, atol=1e-10, msg=name
                )
        for name, buffer in model.named_buffers():
            torch.testing.assert_close(half['buffers'][name], buffer, msg=name)


def test_two_processes_equal_one(build_flsl, tmp_path):
    check(build_flsl, tmp_path)


def test_two_processes_equal_one_with_sinkhorn(build_flsl, tmp_path):
    check(build_flsl, tmp_path, head=dict(teacher_norm='sinkhorn'))


def test_two_processes_equal_one_with_centering(build_flsl, tmp_path):
    check(build_flsl, tmp_path, head=dict(teacher_norm='centering'))


def test_two_processes_equal_one_with_half_of_the_tokens(build_flsl, tmp_path, monkeypatch):
    """Drawn alike for all images, since each process draws for its own."""

    def alike(grid, window, batch, keep):
        return draw_places(grid, window, 1, keep).expand(batch, -1)

    monkeypatch.setattr('flsl_mm.models.necks.mean_shift_neck.draw_places', alike)
    check(build_flsl, tmp_path, student_keep=0.5)


def test_two_processes_equal_one_with_dino(build_dino, tmp_path):
    check(build_dino, tmp_path)


@pytest.mark.parametrize('kind', ['vit_small_patch16_dinov3', 'vit_small_patch14_reg4_dinov2'])
def test_two_processes_equal_one_on_another_network(kind, tmp_path):
    timm = pytest.importorskip('timm')
    sizes = dict(embed_dim=48, depth=3, num_heads=3, img_size=56 if 'patch14' in kind else 64)
    torch.save(timm.create_model(kind, num_classes=0, **sizes).state_dict(), tmp_path / 'vit.pth')
    init_cfg = dict(type='PretrainedViT', checkpoint=str(tmp_path / 'vit.pth'))

    def build(head=()) -> FLSL:
        options = dict(num_prototypes=64, hidden_channels=64, bottleneck_channels=32, **dict(head))
        return FLSL(
            dict(type='PretrainedNetwork', init_cfg=init_cfg, num_heads=3, trained_blocks=2),
            neck=dict(type='MeanShiftNeck', self_scale=0.1, cross_scale=0.2),
            head=dict(type='FLSLHead', **options),
        )

    check(build, tmp_path)


def test_two_processes_find_one_scale(build_flsl, tmp_path):
    """The geometric mean of what each finds on its own half of the batch."""
    parts = dict(neck=dict(self_scale='auto', cross_scale=None, attended_tokens=4.0))
    halves = start_two(build_flsl, tmp_path, parts)
    found = [half['buffers']['neck.auto_scale'] for half in halves]
    assert torch.equal(*found) and found[0][1] == 1
    alone = []
    for rank in range(2):
        model = make_model(build_flsl, parts)
        model([view[2 * rank : 2 * rank + 2] for view in make_views()], mode='loss')
        alone.append(model.neck.auto_scale[0])
    assert alone[0] != alone[1]
    torch.testing.assert_close(found[0][0], sum(alone) / 2)
