"""Semi-supervised DAVIS-2017 with frozen features."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_dist_info, is_main_process
from mmengine.logging import print_log

from ...datasets.davis import DavisSequence, find_davis, read_frame, read_masks, write_masks
from ...datasets.mask_files import read_mask
from ...models import FrozenViT
from ...registry import FROZEN_TASKS
from ...utils.counts import counted
from ...utils.errors import ConfigError, DataError, UserError, errors_about
from ...utils.files import file_stamp
from ...utils.images import IMAGENET_MEAN, IMAGENET_STD
from ...utils.token_grid import grid_of_size
from ..functional.davis import VOID, ObjectMeasures, measure_sequence, summarize_davis
from ..functional.label_propagation import LabelPropagator
from ..functional.video_segmentation import (
    DAVIS_STATISTICS,
    first_labels,
    input_size,
    labels_to_mask,
    prepare_frame,
)
from .frozen_task import FrozenTask, check_precision, computing_in, weights_digest


@FROZEN_TASKS.register_module()
class DavisPropagation(FrozenTask):
    """J and F of masks that frozen features carry from the first frame along the video.

    Paper, Section 5 and Table 4; the protocol is DINO's, see :class:`LabelPropagator`. Sequences
    are shared among the processes of a distributed run.

    Args:
        data_root: Folder in the layout of DAVIS-2017, see :func:`find_davis`.
        split: Name of the list of sequences.
        sequences: These instead of those of a list.
        short_side: Of resized frames, in pixels.
        num_previous: Latest frames that labels are taken from, beside the first.
        radius: Window, in tokens; None compares all tokens.
        topk: Number of source tokens that vote.
        temperature: Of their weights.
        precision: What the network computes in: ``'float32'``, the protocol's, or ``'bfloat16'``,
            twice as fast on processors that have it. Labels are propagated in float32 in either.
        out_dir: If given, masks are kept in ``<out_dir>/<network>/<sequence>/00000.png``, where
            ``<network>`` differs with weights, settings and data (names, sizes and times of change
            of the files); sequences found there are not computed again.

    Raises:
        FileNotFoundError: Data are missing.
        DataError: Data are not what they should be.
        ConfigError: A number is out of range, or the precision is unknown.
    """

    name = 'davis'
    headline = 'J&F-Mean'

    def __init__(
        self,
        data_root: str | PathLike = 'data/DAVIS',
        split: str = 'val',
        sequences: str | Sequence[str] | None = None,
        short_side: int = 480,
        num_previous: int = 7,
        radius: int | None = 12,
        topk: int = 5,
        temperature: float = 0.1,
        precision: str = 'float32',
        out_dir: str | PathLike | None = None,
    ) -> None:
        if short_side < 1 or num_previous < 0:
            raise ConfigError(
                f'short_side must be at least 1, num_previous 0: got {short_side}, {num_previous}'
            )
        self.data_root = Path(data_root)
        self.short_side = short_side
        self.propagation = dict(
            radius=radius, topk=topk, temperature=temperature, num_frames=1 + num_previous
        )
        LabelPropagator((1, 1), **self.propagation)
        self.precision = check_precision(precision)
        self.out_dir = None if out_dir is None else Path(out_dir)
        sequences = [sequences] if isinstance(sequences, str) else sequences
        self.sequences = find_davis(data_root, split, sequences)

    @torch.no_grad()
    def __call__(self, vit: FrozenViT) -> dict[str, Any]:
        """Evaluate a network.

        Returns:
            dict: See :func:`evaluate_davis`; and ``masks``, the folder of the masks, if kept.

        Raises:
            DataError: An image is not readable, in whichever process, or features are not finite.
        """
        folder = self.out_dir / self._identity(vit) if self.out_dir else None
        rank, world_size = get_dist_info()
        # The longest first, so that the processes end together.
        order = sorted(self.sequences, key=lambda sequence: -len(sequence.frames))
        found, error = {}, None
        try:
            found = self._measure(vit, order[rank::world_size], folder)
        except (UserError, FileNotFoundError) as reason:
            error = str(reason)
        # Nobody waits for a process that failed.
        parts = all_gather_object((found, error))
        errors = [reason for _, reason in parts if reason]
        if errors:
            raise DataError(errors[0])
        measures = {name: measure for part, _ in parts for name, measure in part.items()}
        result = summarize_davis({s.name: measures[s.name] for s in self.sequences})
        return result if folder is None else dict(result, masks=str(folder))

    def describe_data(self, numbers: Mapping[str, Any]) -> str:
        """The videos and their objects."""
        sequences = counted(len(numbers['sequences']), 'sequence')
        return f'{sequences}, {counted(len(numbers["objects"]), "object")}'

    def _identity(self, vit: FrozenViT) -> str:
        """A folder name that differs with everything that masks depend on."""
        files = [
            (sequence.name, path.name, file_stamp(path))
            for sequence in self.sequences
            for path in (*sequence.frames, sequence.masks[0])
        ]
        data = (str(self.data_root.resolve()), files)
        settings = self.propagation, self.short_side, self.precision
        content = json.dumps((weights_digest(vit), *settings, data))
        digest = hashlib.sha256(content.encode()).hexdigest()
        return f'vit{vit.embed_dims}-{vit.depth}-{vit.patch_size}_{digest[:8]}'

    def _measure(
        self, vit: FrozenViT, sequences: Sequence[DavisSequence], folder: Path | None
    ) -> dict[str, ObjectMeasures]:
        """Measures of sequences by name."""
        measures = {}
        todo = sum(len(sequence.frames) for sequence in sequences)
        done, start = 0, time.perf_counter()
        for number, sequence in enumerate(sequences, 1):
            masks = self._finished(sequence, folder)
            note = 'found'
            if masks is None:
                masks = self.segment(vit, sequence)
                done += len(sequence.frames)
                speed = done / (time.perf_counter() - start)
                note = f'{speed:.2f} frames/s'
                if folder is not None:
                    stems = [frame.stem for frame in sequence.frames]
                    write_masks(folder / sequence.name, stems, masks)
            todo -= len(sequence.frames)
            truth = read_masks(sequence.masks, masks.shape[1:])
            with errors_about(sequence.name):
                measures[sequence.name] = measure_sequence(truth, masks)
            if is_main_process():
                left = f', {todo / speed:.0f} s left' if done else ''
                print_log(
                    f'DAVIS: {sequence.name} ({number}/{len(sequences)}), {note}{left}',
                    logger='current',
                )
        return measures

    def _finished(self, sequence: DavisSequence, folder: Path | None) -> np.ndarray | None:
        """The masks of a sequence that an earlier run left, all of them; else None."""
        if folder is None or not (folder / sequence.name).is_dir():
            return None
        return read_masks([folder / sequence.name / f'{f.stem}.png' for f in sequence.frames])

    def segment(self, vit: FrozenViT, sequence: DavisSequence) -> np.ndarray:
        """Masks of all frames of a sequence, from that of the first.

        Args:
            vit: In evaluation mode.
            sequence: The video; of its masks only the first is looked at.

        Returns:
            np.ndarray: (T, H, W) uint8 object ids; the first frame's are those given.

        Raises:
            DataError: An image is not readable, the first mask has no object, or features are not
                finite.
        """
        given = read_mask(sequence.masks[0])
        with errors_about(sequence.name):
            size = input_size(*given.shape, self.short_side, vit.patch_size)
        grid = grid_of_size(*size, vit.patch_size)
        # The protocol's own numbers for ImageNet's; a network that expects others gets those.
        own = vit.mean, vit.std
        statistics = DAVIS_STATISTICS if own == (IMAGENET_MEAN, IMAGENET_STD) else own
        device = next(vit.parameters()).device
        with errors_about(sequence.name):
            labels = first_labels(given, grid).to(device)
        propagator = LabelPropagator(grid, **self.propagation)
        masks = [np.where(given == VOID, 0, given)]
        for path in sequence.frames:
            frame = prepare_frame(read_frame(path), size, statistics).to(device)
            with computing_in(self.precision, device):
                features = vit.forward_tokens([frame])[0][0].float()  # (h*w, D)
            if propagator.num_seen:
                labels = propagator.propagate(features)  # (C, h, w)
                if not labels.isfinite().all():
                    raise DataError(f'{path}: the network gives features that are not finite')
                masks.append(labels_to_mask(labels, vit.patch_size, given.shape))
            propagator.remember(features, labels)
        return np.stack(masks)
