r"""Whether this machine's GPUs compute what its CPU does, and how fast. Run it first.

Losses and gradients in every number format, views, compiled networks, stochastic depth, a resumed
run, distributed gradients, detectors, k-NN and label propagation; then images per second, memory
and launches of whole pretraining steps. Needs no data set. A table of what passed, and the last
line is JSON. Without a GPU the same checks run on the CPU with small networks: they then say that
the project works here, and no speed.

Example:
    python tools/analysis_tools/check_device.py --out device.json
"""

__tool__ = True

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from flsl_mm.apis.command_line import add_device_argument, run_command, start_tool, tool_parser
from flsl_mm.utils.errors import ConfigError, DataError
from flsl_mm.utils.files import write_json
from flsl_mm.utils.tables import text_table

CONFIGS = Path(__file__).parents[2] / 'configs'


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    add_device_argument(parser)
    parser.add_argument('--only', nargs='+', metavar='CHECK', help='names of the table (all)')
    parser.add_argument('--out', metavar='FILE', help='write the JSON to this file too')
    return parser.parse_args(arguments)


if __name__ == '__main__':
    start_tool(parse_args)

import numpy as np
import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import RUNNERS, init_default_scope
from mmengine.structures import InstanceData
from mmpretrain.registry import MODELS
from PIL import Image
from torch import Tensor, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from flsl_mm.apis.benchmarking import (
    build_moving_optimizer,
    random_crops,
    resident_bytes,
    synchronize,
)
from flsl_mm.apis.frozen import usable_device
from flsl_mm.apis.profiling import profile_training
from flsl_mm.evaluation import bbox_knn, propagate_labels
from flsl_mm.models.data_preprocessors.photometry import (
    Photometry,
    plan_colors,
    recolor,
    render_batched,
    render_looped,
)
from flsl_mm.models.data_preprocessors.resized_crop import (
    resized_crop_looped,
    resized_crops_batched,
)
from flsl_mm.models.layers.compile import compile_networks

SMALL = dict(embed_dims=48, num_layers=2, num_heads=3, feedforward_channels=96)
SMALL_HEAD = dict(in_channels=48, num_prototypes=64, hidden_channels=64, bottleneck_channels=32)


class Skipped(Exception):
    """What a check needs is not here; the message says what."""


class Machine(NamedTuple):
    """Where the checks run.

    Attributes:
        device: The device.
        small: Whether networks are shrunk, as on a CPU.
        folder: For files.
    """

    device: torch.device
    small: bool
    folder: Path


Found = dict[str, Any]
"""Numbers of a check; those that decide are in the table."""


def agree(what: str, gap: float, limit: float) -> None:
    """Stop a check whose gap is above its limit, or no number.

    Raises:
        DataError: It is.
    """
    if not gap <= limit:
        raise DataError(f'{what} differ by {gap:.2g}, more than {limit:.2g}')


def relative(found: Tensor, wanted: Tensor) -> float:
    """Norm of the difference over that of ``wanted``."""
    found, wanted = (x.detach().cpu().double().flatten() for x in (found, wanted))
    return ((found - wanted).norm() / wanted.norm().clamp_min(1e-12)).item()


def pretraining(machine: Machine, name: str = 'flsl_vits16_300e', **backbone: Any) -> Config:
    """A pretraining config without pretrained weights, shrunk where the machine is small."""
    cfg = Config.fromfile(CONFIGS / f'pretrain/{name}.py')
    init_default_scope('mmpretrain')
    cfg.model.backbone.pop('init_cfg', None)
    cfg.model.backbone.update(backbone)
    if machine.small:
        cfg.model.backbone.update(arch=SMALL, img_size=64)
        cfg.model.head.update(SMALL_HEAD)
        cfg.model.data_preprocessor.student_view.size = 64
        cfg.model.data_preprocessor.local_views.size = 32
    return cfg


def build(cfg: Config, device: torch.device | str) -> nn.Module:
    """Its model, of the same weights each time."""
    MMLogger.get_current_instance().setLevel('WARNING')  # not each parameter in a line
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    return model.to(device).train()


def views_of(cfg: Config, count: int) -> list[Tensor]:
    """Normalized views, on the CPU."""
    generator = torch.Generator().manual_seed(1)
    settings = cfg.model.data_preprocessor
    sizes = [settings.student_view.size] * 2 + [settings.local_views.size] * 2
    return [torch.randn(count, 3, size, size, generator=generator) for size in sizes]


def gradients(
    model: nn.Module, views: Sequence[Tensor], dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """Loss and gradient of a step, of the same random draws each time.

    Args:
        model: With :meth:`StudentTeacher.loss`, or such a one in a wrapper.
        views: On the CPU.
        dtype: Of autocast; with float16 the loss is scaled.

    Returns:
        tuple: The loss (1,) and all gradients (P,), float32 on the CPU.
    """
    device = next(model.parameters()).device
    model.zero_grad()
    torch.manual_seed(2)
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        losses = model([view.to(device) for view in views], mode='loss')
    loss = sum(value for name, value in losses.items() if 'loss' in name)
    scale = 2.0**12 if dtype == torch.float16 else 1.0
    (scale * loss).backward()
    parts = [p.grad.float().cpu().flatten() / scale for p in model.parameters() if p.requires_grad]
    return loss.detach().float().cpu().view(1), torch.cat(parts)


def check_formats(machine: Machine) -> Found:
    """Losses and gradients of each number format against the CPU's in float32."""
    cfg, found = pretraining(machine), {}
    views = views_of(cfg, 4)
    wanted = gradients(build(cfg, 'cpu'), views)
    model = build(cfg, machine.device)
    limits = dict(float32=(1e-4, 2e-3), bfloat16=(1e-2, 0.1), float16=(1e-2, 0.1))
    for name, (loss_limit, gradient_limit) in limits.items():
        if name == 'float16' and machine.device.type == 'cpu':
            continue
        loss, gradient = map(relative, gradients(model, views, getattr(torch, name)), wanted)
        found |= {f'{name}_loss': loss, f'{name}_gradient': gradient}
        agree(f'losses in {name}', loss, loss_limit)
        agree(f'gradients in {name}', gradient, gradient_limit)
    return found


def check_views(machine: Machine) -> Found:
    """Crops and photometry of all images together, on the device, against one by one on the CPU."""
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (16, 3, 12, 12), dtype=torch.uint8)
    pixels = nn.functional.interpolate(pixels, (64, 64), mode='bicubic')
    boxes = torch.tensor([[3, 5, 60, 41]] * 16)
    wanted = resized_crop_looped(pixels, boxes, 48) / 255
    on_device = pixels.to(machine.device) / 255
    [crops] = resized_crops_batched(on_device, boxes[None], 48)
    crops_gap = (crops.cpu() - wanted).abs().max().item()
    steps = Photometry().draw(16)
    plain = torch.ones(3, 1, 1), torch.zeros(3, 1, 1)
    moved = [x.to(machine.device) for x in plain]
    [colored] = render_batched([on_device], [steps], *moved)
    colors_gap = (colored.cpu() - render_looped(pixels, steps, *plain)).abs().max().item()
    agree('crops', crops_gap, 2.01 / 255)  # 8-bit rounding between the axes, and after them
    agree('colors', colors_gap, 1e-3)
    return dict(crops=crops_gap, colors=colors_gap)


def check_compiled(machine: Machine) -> Found:
    """Compiled networks and photometry against uncompiled ones; giving up fails."""
    cfg = pretraining(machine)
    views = views_of(cfg, 4)
    wanted = gradients(build(cfg, machine.device), views)
    model = build(cfg, machine.device)
    compile_networks(model, **(dict(backend='aot_eager') if machine.small else {}))
    loss, gradient = map(relative, gradients(model, views), wanted)
    photometry = model.data_preprocessor.compiled
    pixels = torch.rand(16, 3, 48, 48, device=machine.device)
    values = plan_colors(Photometry().draw(16), 16).to(machine.device)
    colors = (photometry(pixels, values, 6) - recolor(pixels, values, 6)).abs().max().item()
    if any(f.compiled is None for f in (*model.compiled.values(), photometry)):
        raise DataError('what is compiled in training cannot be here; the log above says why')
    agree('losses', loss, 1e-3)
    agree('gradients', gradient, 1e-2)
    agree('colors', colors, 1e-3)
    return dict(loss=loss, gradient=gradient, colors=colors)


def check_stochastic_depth(machine: Machine) -> Found:
    """Dropped images left out against dropped images masked."""
    cfg = pretraining(machine, drop_path_rate=0.5)
    model, views = build(cfg, machine.device), views_of(cfg, 4)
    wanted = gradients(model, views)
    compile_networks(model, backend='eager')  # static shapes, so it masks
    loss, gradient = map(relative, gradients(model, views), wanted)
    agree('losses', loss, 1e-4)
    agree('gradients', gradient, 1e-3)
    return dict(loss=loss, gradient=gradient)


def check_resume(machine: Machine) -> Found:
    """A resumed run against the uninterrupted one: bit for bit on a CPU, nearly so on a GPU."""
    cfg = pretraining(machine._replace(small=True), 'flsl_vit-tiny_demo')
    images = write_images(machine.folder / 'images', 24)
    cfg.merge_from_dict(
        {
            'train_dataloader': dict(batch_size=8, num_workers=0, pin_memory=False),
            'train_dataloader.dataset.data_root': str(images),
            'train_cfg.max_epochs': 2,
            'default_hooks.frozen_evaluation': None,
            'default_hooks.checkpoint.interval': 1,
            'visualizer.vis_backends': [dict(type='LocalVisBackend')],
            'log_level': 'ERROR',
        }
    )
    ends = []
    for name in ('whole', 'resumed'):
        cfg.work_dir = str(machine.folder / name)
        cfg.experiment_name = f'check-device-{name}-{time.time_ns()}'
        if name == 'resumed':
            cfg.resume = True
            Path(cfg.work_dir).mkdir()
            shutil.copy(machine.folder / 'whole/epoch_1.pth', cfg.work_dir)
        runner = RUNNERS.build(cfg)
        runner.train()
        ends.append(torch.cat([p.detach().cpu().flatten() for p in runner.model.parameters()]))
    init_default_scope('mmpretrain')
    gap = relative(ends[1], ends[0])
    agree('weights', gap, 0.0 if not torch.cuda.is_available() else 1e-2)
    return dict(weights=gap)


def write_images(folder: Path, count: int, size: tuple[int, int] = (120, 90)) -> Path:
    """A folder of random JPEG images; gives the folder."""
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    for i in range(count):
        pixels = random.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize(size).save(folder / f'{i}.jpg')
    return folder


def check_distributed(machine: Machine) -> Found:
    """Gradients of all GPUs' shares of a batch, or of two processes', against one process."""
    world = torch.cuda.device_count() if machine.device.type == 'cuda' else 2
    cfg = pretraining(machine, drop_path_rate=0.0)
    wanted = gradients(build(cfg, machine.device), views_of(cfg, 2 * world))[1]
    result = machine.folder / 'gradients.pt'
    arguments = machine._replace(device=machine.device.type), world, str(result)
    multiprocessing.start_processes(
        _distributed_part, arguments, nprocs=world, start_method='spawn'
    )
    gap = relative(torch.load(result), wanted)
    agree('gradients', gap, 2e-3)
    return dict(processes=world, gradient=gap)


def _distributed_part(rank: int, machine: Machine, world: int, result: str) -> None:
    """One process's share."""
    device = torch.device(machine.device, *([rank] if machine.device == 'cuda' else []))
    if device.type == 'cuda':
        torch.cuda.set_device(device)
    dist.init_process_group(
        'nccl' if device.type == 'cuda' else 'gloo',
        init_method=f'file://{result}.rendezvous',
        rank=rank,
        world_size=world,
    )
    cfg = pretraining(machine, drop_path_rate=0.0)
    model = DistributedDataParallel(
        build(cfg, device),
        device_ids=[rank] if device.type == 'cuda' else None,
        broadcast_buffers=False,
        gradient_as_bucket_view=True,
        static_graph=True,
    )
    found = gradients(model, [v[2 * rank : 2 * rank + 2] for v in views_of(cfg, 2 * world)])[1]
    if rank == 0:
        torch.save(found, result)
    dist.destroy_process_group()


def check_detectors(machine: Machine) -> Found:
    """A training step of ViTFPN and of ViTDet in their detectors: finite losses and gradients."""
    try:
        from mmdet.registry import MODELS as DETECTORS
        from mmdet.structures import DetDataSample
        from mmdet.structures.mask import BitmapMasks
    except ImportError as error:
        raise Skipped(f'mmdet is not there ({error})') from None
    found = {}
    for name in ('mask-rcnn_flsl-vits16_fpn_1x_coco', 'mask-rcnn_flsl-vitb16_vitdet_100e_coco'):
        cfg = Config.fromfile(CONFIGS / f'coco/{name}.py')
        init_default_scope('mmdet')
        vit = cfg.model.backbone
        vit.update(embed_dims=48, depth=4, num_heads=3, img_size=128, init_cfg=None)
        if vit.type == 'ViTFPN':
            vit.out_indices = (0, 1, 2, 3)
            cfg.model.neck.in_channels = [48] * 4
        else:
            vit.update(window_size=4, global_indices=(1, 3), pretrain_img_size=64)
            cfg.model.data_preprocessor.update(pad_size_divisor=128, batch_augments=None)
        torch.manual_seed(0)
        model = DETECTORS.build(cfg.model)
        model.init_weights()
        model = model.to(machine.device).train()
        samples = []
        for _ in range(2):
            sample = DetDataSample(
                metainfo=dict(img_shape=(128, 128), batch_input_shape=(128, 128), scale_factor=1.0)
            )
            boxes = torch.tensor([[8.0, 8, 72, 72], [40, 30, 120, 110]])
            masks = np.zeros((2, 128, 128), np.uint8)
            for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist()):
                mask[y1:y2, x1:x2] = 1
            sample.gt_instances = InstanceData(
                bboxes=boxes, labels=torch.tensor([1, 2]), masks=BitmapMasks(masks, 128, 128)
            )
            samples.append(sample)
        pixels = torch.randint(0, 256, (2, 3, 128, 128), dtype=torch.uint8)
        data = model.data_preprocessor(dict(inputs=list(pixels), data_samples=samples), True)
        loss, _ = model.parse_losses(model(**data, mode='loss'))
        loss.backward()
        norms = [p.grad.norm() for p in model.backbone.parameters() if p.grad is not None]
        if not (loss.isfinite() and torch.stack(norms).isfinite().all() and sum(norms) > 0):
            raise DataError(f'{vit.type}: loss {loss.item():g}, or a gradient that is not finite')
        found[vit.type] = loss.item()
    init_default_scope('mmpretrain')
    return found


def check_frozen(machine: Machine) -> Found:
    """k-NN and label propagation against the CPU's."""
    generator = torch.Generator().manual_seed(0)
    train, test = (torch.randn(n, 3, 32, generator=generator) for n in (300, 100))
    labels = torch.arange(300) % 5, torch.arange(100) % 5
    train, test = (x + torch.eye(5, 32)[y][:, None] for x, y in zip((train, test), labels))
    scores = [
        bbox_knn(train.to(d), labels[0].to(d), test.to(d), labels[1].to(d), k=10)
        for d in ('cpu', machine.device)
    ]
    agree('k-NN accuracies in percent', abs(scores[0] - scores[1]), 1.0)
    target, sources = torch.randn(96, 16, generator=generator), torch.randn(2, 96, 16)
    votes = torch.rand(2, 3, 8, 12, generator=generator)
    spread = [
        propagate_labels(target.to(d), sources.to(d), votes.to(d), radius=3, topk=5).cpu()
        for d in ('cpu', machine.device)
    ]
    gap = (spread[0] - spread[1]).abs().max().item()
    agree('propagated labels', gap, 1e-3)
    return dict(knn=scores[1], labels=gap)


def measure_product(machine: Machine) -> float:
    """FLOP/s of a large matrix product in bfloat16, the best of ten."""
    size = 512 if machine.small else 8192
    a, b = (torch.randn(size, size, device=machine.device).bfloat16() for _ in range(2))
    times = []
    for _ in range(12):
        start = time.perf_counter()
        a @ b
        synchronize(str(machine.device))
        times.append(time.perf_counter() - start)
    return 2 * size**3 / min(times[2:])


def measure_step(machine: Machine, name: str, batch_size: int, peak: float, **options) -> Found:
    """Whole pretraining steps: views, forward, backward, clipping, optimizer, teacher.

    Args:
        machine: Where.
        name: Of the config.
        batch_size: Images.
        peak: FLOP/s of a large product.
        options: Of :func:`compile_networks`; none for uncompiled.

    Returns:
        dict: ``images_per_second``, ``step_ms``, ``memory_gib``, ``share_of_peak`` and, on a GPU,
        ``launches``.
    """
    device, on_gpu = str(machine.device), machine.device.type == 'cuda'
    cfg = pretraining(machine, name)
    cfg.optim_wrapper.precision = 'bfloat16'
    if not on_gpu:
        cfg.optim_wrapper.optimizer.pop('fused', None)
    model = build(cfg, machine.device)
    wrapper = build_moving_optimizer(model, cfg.optim_wrapper)
    if options:
        compile_networks(model, **options)
    batch = random_crops(cfg.model.data_preprocessor.student_view.size, batch_size)

    def step() -> None:
        model.train_step(batch, wrapper)
        synchronize(device)

    with FlopCounterMode(display=False) as counter:
        step()
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    times = []
    for _ in range(3 if machine.small else 13):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    seconds = statistics.median(times[1 if machine.small else 3 :])
    memory = torch.cuda.max_memory_allocated() if on_gpu else resident_bytes('VmHWM')
    found = dict(
        images_per_second=batch_size / seconds,
        step_ms=1e3 * seconds,
        memory_gib=memory / 2**30,
        share_of_peak=counter.get_total_flops() / seconds / peak,
    )
    if on_gpu:
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
            step()
        found['launches'] = sum(
            event.count for event in profiler.key_averages() if 'LaunchKernel' in event.key
        )
    return found


def check_speed(machine: Machine) -> Found:
    """Steps of three networks at two batch sizes, and the wait for data of one of them."""
    peak, found = measure_product(machine), {}
    sizes = dict(flsl_vits16_300e=(64, 256), flsl_vits8_300e=(16, 64), flsl_vitb16_300e=(64, 128))
    for name, batches in sizes.items():
        for batch_size in (2, 4) if machine.small else batches:
            found[f'{name} {batch_size}'] = measure_step(machine, name, batch_size, peak)
    if not machine.small:
        compiled = measure_step(machine, 'flsl_vits16_300e', 64, peak, mode='default')
        found['flsl_vits16_300e 64 compiled'] = compiled
    found['wait_for_data'] = measure_wait(machine)
    return dict(found, peak_tflops=peak / 1e12)


def measure_wait(machine: Machine) -> float:
    """Share of a training step in which it waits for images, which workers decode."""
    cfg = pretraining(machine)
    count, batch_size = (16, 4) if machine.small else (512, 64)
    images = write_images(machine.folder / 'photographs', count, (500, 375))
    workers = 0 if machine.small else min(os.cpu_count(), 16)
    loader = cfg.train_dataloader
    loader.update(batch_size=batch_size, num_workers=workers)
    loader.dataset.data_root = str(images)
    loader.dataset.pipeline[1].size = cfg.model.data_preprocessor.student_view.size
    cfg.optim_wrapper.precision = 'bfloat16'
    if machine.device.type == 'cpu':
        cfg.optim_wrapper.optimizer.pop('fused', None)
    model = build(cfg, machine.device)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    trace = str(machine.folder / 'trace.json')
    steps = 2 if machine.small else 20
    parts = profile_training(model, wrapper, loader, steps, 1, str(machine.device), trace)
    return parts['data wait'] / sum(parts.values())


CHECKS: dict[str, Callable[[Machine], Found]] = dict(
    precision=check_formats,
    views=check_views,
    compiled=check_compiled,
    depth=check_stochastic_depth,
    resume=check_resume,
    distributed=check_distributed,
    detectors=check_detectors,
    frozen=check_frozen,
    speed=check_speed,
)


def run_checks(machine: Machine, names: Sequence[str]) -> dict[str, Found]:
    """Run checks one after the other; none stops another.

    Returns:
        dict: By name ``result``, which is ``'passed'``, ``'failed'`` or ``'skipped'``; ``seconds``;
        ``reason`` where it has not passed, and its numbers.
    """
    results = {}
    for name in names:
        start = time.perf_counter()
        try:
            found = dict(result='passed', **CHECKS[name](machine))
        except Skipped as error:
            found = dict(result='skipped', reason=str(error))
        except Exception as error:  # whatever a device does wrong
            if not isinstance(error, DataError):
                traceback.print_exc()
            found = dict(result='failed', reason=str(error).strip().split('\n')[0])
        results[name] = dict(found, seconds=time.perf_counter() - start)
        print(f'{name}: {found["result"]}', file=sys.stderr, flush=True)
    return results


def table_of(results: Mapping[str, Found]) -> str:
    """A line for each check, and one for each speed."""
    rows, notes = [['check', 'result', 'seconds']], ['']
    speeds = [['step of', 'images/s', 'ms', 'GiB', 'of peak', 'launches']]
    for name, found in results.items():
        numbers = [f'{k} {v:.2g}' for k, v in found.items() if isinstance(v, float | int)]
        seen = found.get('reason') or ', '.join(n for n in numbers if not n.startswith('seconds'))
        rows.append([name, found['result'], f'{found["seconds"]:.0f}'])
        notes.append(seen)
        speeds += [
            [
                step,
                f'{v["images_per_second"]:.0f}',
                f'{v["step_ms"]:.1f}',
                f'{v["memory_gib"]:.1f}',
                f'{v["share_of_peak"]:.0%}',
                str(v.get('launches', '-')),
            ]
            for step, v in found.items()
            if isinstance(v, dict)
        ]
    lines = [f'{a}  {b}'.rstrip() for a, b in zip(text_table(rows).splitlines(), notes)]
    return '\n'.join(lines + (['', text_table(speeds)] if len(speeds) > 1 else []))


def check(args: argparse.Namespace) -> None:
    """Run the checks, print the table and the JSON.

    Raises:
        ConfigError: There is no such device or check.
        DataError: A check failed.
    """
    device = usable_device(args.device)
    names = args.only or list(CHECKS)
    if unknown := set(names) - set(CHECKS):
        raise ConfigError(f'--only: no check {sorted(unknown)}; known: {", ".join(CHECKS)}')
    small = device.type == 'cpu'
    with tempfile.TemporaryDirectory() as folder:
        results = run_checks(Machine(device, small, Path(folder)), names)
    report = dict(
        device='cpu' if small else torch.cuda.get_device_name(device),
        gpus=torch.cuda.device_count(),
        torch=torch.__version__,
        shrunk=small,
        checks=results,
    )
    print(table_of(results))
    if args.out:
        write_json(args.out, report)
    print(json.dumps(report))
    if failed := [name for name, found in results.items() if found['result'] == 'failed']:
        raise DataError(f'failed: {", ".join(failed)}')


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse_args(arguments)
    return run_command('check_device.py', lambda: check(args))


if __name__ == '__main__':
    sys.exit(main())
