"""Pretrain a tiny ViT with FLSL on scenes made here, and draw what it sees as similar.

Runs on a laptop without GPU in about two minutes. Results go to work_dirs/demo.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import matplotlib
import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from PIL import Image

import flsl_mm  # noqa: F401  (registers the models)
from flsl_mm.checkpoint import load_model
from flsl_mm.datasets.scenes import sample_scene

matplotlib.use('Agg')
from matplotlib import pyplot as plt  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / 'configs/pretrain/flsl_vit-tiny_demo.py'
NUM_SCENES = 512
NUM_SHOWN = 6


def main() -> None:
    """Make scenes, train, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/demo'))
    parser.add_argument('--epochs', type=int, default=16, help='epochs of 16 iterations')
    args = parser.parse_args()
    start = time.time()

    def announce(step: str) -> None:
        print(f'[{time.time() - start:4.0f} s] {step}', flush=True)

    announce(f'1/3 drawing {NUM_SCENES} scenes into {args.work_dir / "scenes"}')
    save_scenes(args.work_dir / 'scenes')
    announce(f'2/3 pretraining for {args.epochs} epochs (the log shows the time left as eta)')
    train(args.work_dir, args.epochs)
    announce('3/3 drawing what is similar to a query, before and after')
    draw_similarity(args.work_dir, args.epochs)
    announce('done')
    report(args.work_dir)


def save_scenes(folder: Path) -> None:
    """Write the training images."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for i in range(NUM_SCENES):
        Image.fromarray(sample_scene(rng).render().image).save(folder / f'{i:04}.png')


def train(work_dir: Path, epochs: int) -> None:
    """Run tools/train.py, as a user would."""
    command = [
        sys.executable,
        str(ROOT / 'tools/train.py'),
        str(CONFIG),
        f'--work-dir={work_dir}',
        '--cfg-options',
        f'train_dataloader.dataset.data_root={work_dir / "scenes"}',
        f'train_cfg.max_epochs={epochs}',
        f'default_hooks.checkpoint.interval={epochs}',
    ]
    print('$', ' '.join(command), flush=True)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as p:
        lines = []
        for line in p.stdout:
            lines.append(line)
            if 'Epoch(train)' in line:
                print('   ', line.split('INFO - ')[-1][:120].rstrip(), flush=True)
    if p.returncode:
        sys.exit(f'training failed:\n{"".join(lines[-20:])}')


def draw_similarity(work_dir: Path, epochs: int) -> None:
    """Save a picture of the cosine similarity of all tokens with a query token (paper, Fig. 4)."""
    MMLogger.get_instance('demo', log_level='WARNING')  # initialisation logs every parameter
    cfg = Config.fromfile(CONFIG)
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    before, after = (MODELS.build(cfg.model).eval() for _ in range(2))
    before.init_weights()
    load_model(after, work_dir / f'epoch_{epochs}.pth')

    rng = np.random.default_rng(1)
    figure, axes = plt.subplots(3, NUM_SHOWN, figsize=(1.6 * NUM_SHOWN, 5.0))
    for column in axes.T:
        # Twice the training size, for finer maps.
        image, _, instances = sample_scene(rng, size=(128, 128)).render()
        images = torch.from_numpy(image).permute(2, 0, 1)[None].float()
        rows, columns = np.nonzero(instances[4::8, 4::8])
        query = int(rng.integers(len(rows)))
        column[0].imshow(image)
        column[0].plot(8 * columns[query] + 4, 8 * rows[query] + 4, 'o', mec='white', mfc='red')
        for axis, model in zip(column[1:], (before, after)):
            similarity = query_similarity(model, images, rows[query], columns[query])
            axis.imshow(similarity, cmap='magma', vmin=0, vmax=1)
    for axis, title in zip(axes[:, 0], ('query', 'before', 'after FLSL')):
        axis.set_ylabel(title)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    figure.tight_layout(pad=0.4)
    figure.savefig(work_dir / 'similarity.png', dpi=90)


@torch.no_grad()
def query_similarity(
    model: torch.nn.Module, images: torch.Tensor, row: int, column: int
) -> np.ndarray:
    """Cosine of every token of the teacher with one of them, (rows, columns)."""
    inputs = model.data_preprocessor(dict(inputs=images))['inputs']
    [tokens] = model.teacher.backbone.forward_tokens([inputs])
    rows, columns = model.backbone.grid_of(inputs)
    tokens = torch.nn.functional.normalize(tokens[0], dim=-1)
    return (tokens @ tokens[row * columns + column]).view(rows, columns).numpy()


def report(work_dir: Path) -> None:
    """Print first and last losses, and where the results are."""
    log = max(work_dir.glob('*/vis_data/scalars.json'), key=lambda path: path.stat().st_mtime)
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    names = (
        'loss',
        'loss_intra',
        'loss_inter',
        'loss_volume',
        'prototypes_used',
        'attended_tokens',
    )
    print(f'{"":16} {"first":>9} {"last":>9}')
    for name in names:
        print(f'{name:16} {rows[0][name]:9.4f} {rows[-1][name]:9.4f}')
    print(f'log:     {log}\npicture: {work_dir / "similarity.png"}')


if __name__ == '__main__':
    main()
