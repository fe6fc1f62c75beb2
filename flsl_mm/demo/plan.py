"""The commands of the demo."""

from pathlib import Path
from typing import NamedTuple

from ..apis.steps import Step

METHODS = ('flsl', 'dino')
TITLES = dict(random='random', dino='DINO', flsl='FLSL')


class Sizes(NamedTuple):
    """How much the demo does.

    Attributes:
        seeds: Runs of each method.
        images: Training images of each layout of still images.
        val_images: Validation images of these.
        videos: Videos to follow objects through.
        frames: Frames of each.
        epochs: Of pretraining.
        finetune_images: Training images of Mask R-CNN.
        finetune_epochs: Of Mask R-CNN.
    """

    seeds: int = 3
    images: int = 640
    val_images: int = 240
    videos: int = 8
    frames: int = 12
    epochs: int = 10
    finetune_images: int = 200
    finetune_epochs: int = 6


class Plan:
    """Names of the demo's files, and its steps.

    Args:
        work_dir: Folder for everything.
        sizes: How much to do.

    Attributes:
        logs: Folder of the steps' logs and marks.
        scenes: Folder of the scenes, with one of each layout.
        report: The page at the end.
        maps: Its picture of principal components, as a file.
    """

    def __init__(self, work_dir: Path, sizes: Sizes) -> None:
        self.work_dir, self.sizes = work_dir, sizes
        self.logs = work_dir / 'logs'
        self.scenes = work_dir / 'scenes'
        self.report = work_dir / 'report.html'
        self.maps = work_dir / 'maps.png'

    def checkpoint(self, method: str, seed: int) -> Path:
        """What pretraining writes."""
        return self.work_dir / f'{method}_seed{seed}' / f'epoch_{self.sizes.epochs}.pth'

    def network(self, method: str, seed: int) -> str:
        """What the evaluation tools call a network: ``random`` has FLSL's design."""
        if method == 'random':
            return f'random:{self.checkpoint("flsl", seed)}'
        return str(self.checkpoint(method, seed))

    def numbers(self, seed: int) -> Path:
        """The JSON file of the frozen tasks."""
        return self.work_dir / 'frozen' / f'seed{seed}.json'

    def detector(self, method: str) -> Path:
        """Work dir of a fine-tuned detector."""
        return self.work_dir / f'mask-rcnn_{method}'

    def steps(self) -> list[Step]:
        """Every step after those that it needs, the long ones first."""
        seeds = range(self.sizes.seeds)
        pretraining = [self._pretrain(method, seed) for seed in seeds for method in METHODS]
        detectors = [self._finetune(method) for method in TITLES]
        evaluation = [self._evaluate(seed) for seed in seeds]
        return [self._draw(), *pretraining, *detectors, *evaluation]

    def _step(
        self,
        name: str,
        title: str,
        command: tuple[str, ...],
        seconds: float,
        after: tuple[str, ...] = (),
        leaves: Path | None = None,
    ) -> Step:
        command = ('python', *command)
        return Step(name, title, self.logs, command, after=after, leaves=leaves, seconds=seconds)

    def _draw(self) -> Step:
        sizes = self.sizes
        command = (
            'tools/dataset_converters/make_scenes.py',
            str(self.scenes),
            f'--train={sizes.images}',
            f'--val={sizes.val_images}',
            f'--videos={sizes.videos}',
            f'--frames={sizes.frames}',
        )
        return self._step(
            'scenes', 'draw scenes in five layouts', command, 0.012 * sizes.images + 4
        )

    def _pretrain(self, method: str, seed: int) -> Step:
        work_dir = self.checkpoint(method, seed).parent
        command = (
            'tools/train.py',
            f'configs/pretrain/{method}_vit-tiny_demo.py',
            f'--work-dir={work_dir}',
            '--cfg-options',
            f'train_dataloader.dataset.data_root={self.scenes / "imagenet"}',
            f'train_cfg.max_epochs={self.sizes.epochs}',
            f'randomness.seed={seed}',
        )
        seconds = 8 + 0.09 * self.sizes.epochs * self.sizes.images / 16
        title = f'pretrain {TITLES[method]}, seed {seed}'
        name, leaves = f'pretrain_{method}_seed{seed}', self.checkpoint(method, seed)
        return self._step(name, title, command, seconds, ('scenes',), leaves)

    def _finetune(self, method: str) -> Step:
        sizes = self.sizes
        coco, epochs = self.scenes / 'coco', sizes.finetune_epochs
        pretrained = None if method == 'random' else self.checkpoint(method, 0)
        command = (
            'tools/train.py',
            'configs/demo/mask-rcnn_vit-tiny_fpn_scenes.py',
            f'--work-dir={self.detector(method)}',
            '--cfg-options',
            f'pretrained={pretrained}',
            f'train_dataloader.dataset.data_root={coco}',
            f'train_dataloader.dataset.indices={sizes.finetune_images}',
            f'val_dataloader.dataset.data_root={coco}',
            f'val_evaluator.ann_file={coco / "annotations/instances_val2017.json"}',
            f'train_cfg.max_epochs={epochs}',
            f'train_cfg.val_interval={max(1, epochs // 3)}',
            f'param_scheduler.1.milestones=[{max(1, epochs * 3 // 4)}]',
            f'default_hooks.checkpoint.interval={epochs}',
        )
        after = ('scenes',) if method == 'random' else (f'pretrain_{method}_seed0',)
        title = f'fine-tune Mask R-CNN from {TITLES[method]} weights'
        seconds = 10 + 0.08 * epochs * sizes.finetune_images
        return self._step(f'finetune_{method}', title, command, seconds, after)

    def _evaluate(self, seed: int) -> Step:
        command = (
            'tools/eval_frozen.py',
            'configs/demo/frozen_scenes.py',
            *(self.network(method, seed) for method in TITLES),
            f'--seed={seed}',
            '--device=cpu',
            f'--out={self.numbers(seed)}',
            '--cfg-options',
            f'knn.data_root={self.scenes / "imagenet"}',
            f'davis.data_root={self.scenes / "DAVIS"}',
            f'davis.out_dir={self.work_dir / "frozen/masks"}',
            f'dense.data_root={self.scenes / "ade/ADEChallengeData2016"}',
        )
        after = tuple(f'pretrain_{method}_seed{seed}' for method in METHODS)
        title = f'evaluate frozen features, seed {seed}'
        return self._step(f'frozen_seed{seed}', title, command, 50, after, self.numbers(seed))
