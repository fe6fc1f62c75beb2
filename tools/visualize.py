r"""Pictures of what frozen networks see: attention, similarity, modes, components, t-SNE.

Any checkpoints side by side, on images of any size. Writes a PNG and, beside it, an NPZ with the
arrays and a JSON file with what was drawn. docs/visualization.md shows how to read the pictures.

Example:
    python tools/visualize.py attention photos/ --points 0.5,0.5 0.2,0.8 \
        --checkpoints FLSL=flsl_vits16.pth DINO=dino_vits16.pth random:deit-small/16

NAME=CHECKPOINT gives the name to show.
"""

__tool__ = True

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from flsl_mm.apis.command_line import (
    add_network_arguments,
    log_details,
    positive,
    run_command,
    start_tool,
    tool_parser,
)
from flsl_mm.utils.errors import DataError, errors_about
from flsl_mm.utils.files import check_writable, write_json

KINDS = {
    'attention': "self-attention of query points inside the last block (paper's Figure 4)",
    'prefix': "attention of the class token or of a register inside the last block (DINO's)",
    'ass': "aggregated similarity score by layer (paper's Figures 4 and 6)",
    'tsne': 't-SNE of the tokens of all images by layer, colored by image, mask or cluster',
    'modes': "the tokens that a query's mode is made of: its soft cluster mask",
    'places': 'principal components, and those of the mean token of each place of many images',
    'pca': 'three principal components of all images as red, green and blue',
}


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    commands = parser.add_subparsers(dest='kind', required=True, metavar='KIND')
    for kind, text in KINDS.items():
        command = commands.add_parser(kind, help=text, description=f'{text[0].upper()}{text[1:]}.')
        add_common_arguments(command, kind)
        if kind not in ('modes', 'places'):
            add_layers(command, kind)
        if kind in ('attention', 'modes'):
            add_queries(command)
        if kind == 'modes':
            add_mode_arguments(command)
        if kind == 'places':
            command.add_argument(
                '--mean-of',
                type=positive,
                default=64,
                metavar='N',
                help='images that the mean is taken of, evenly spaced (%(default)s)',
            )
        if kind == 'prefix':
            command.add_argument(
                '--token',
                type=int,
                default=0,
                metavar='N',
                help='0 is the class token, registers follow (%(default)s)',
            )
        if kind == 'tsne':
            add_tsne_arguments(command)
    args = parser.parse_args(arguments)
    if Path(args.out).suffix.lower() != '.png':
        parser.error(f'--out must end in .png, got {args.out}')
    if args.kind == 'modes' and args.scale is not None and args.scale <= 0:
        parser.error(f'--scale must be positive, got {args.scale:g}')
    if args.kind == 'tsne' and (args.color_by == 'mask') != bool(args.masks):
        parser.error('--color-by mask and --masks DIR go together')
    return args


def add_common_arguments(parser: argparse.ArgumentParser, kind: str) -> None:
    """What every kind of picture has."""
    parser.add_argument('images', nargs='+', metavar='IMAGE', help='image files or folders')
    add_network_arguments(parser, '--checkpoints')
    parser.add_argument(
        '--out',
        metavar='FILE',
        default=f'work_dirs/visualize/{kind}.png',
        help='picture to write, and .npz and .json beside it (%(default)s)',
    )
    parser.add_argument(
        '--short-side',
        type=positive,
        default=448,
        metavar='N',
        help='side in pixels that images are resized to before encoding (%(default)s)',
    )
    parser.add_argument(
        '--max-images',
        type=positive,
        default=6,
        metavar='N',
        help='show at most N, evenly spaced (%(default)s)',
    )
    parser.add_argument('--dpi', type=positive, default=150, help='of the PNG (%(default)s)')


def add_layers(parser: argparse.ArgumentParser, kind: str) -> None:
    """Which blocks to show."""
    last = kind in ('attention', 'prefix', 'pca')
    parser.add_argument(
        '--layers',
        nargs='+',
        type=int,
        default=[-1] if last else None,
        metavar='N',
        help='blocks from 1, or from -1 backwards '
        f'({"the last" if last else "four, a quarter of the depth apart"})',
    )


def add_queries(parser: argparse.ArgumentParser) -> None:
    """Where the query points are."""
    parser.add_argument(
        '--points',
        nargs='+',
        metavar='X,Y',
        help='query points in every image: pixels of the file, as 120,80, or fractions of width '
        'and height, as 0.5,0.25 (chosen on unlike regions by the first network)',
    )
    parser.add_argument(
        '--num-points',
        type=positive,
        default=2,
        metavar='N',
        help='how many to choose, without --points (%(default)s)',
    )


def add_mode_arguments(parser: argparse.ArgumentParser) -> None:
    """How modes are found."""
    parser.add_argument(
        '--scale',
        type=float,
        metavar='S',
        help='factor of the logits (what each file records of its training; where it does not, '
        "the release's 0.0051, for networks 384 wide)",
    )
    parser.add_argument(
        '--iterate', action='store_true', help='repeat the update until the queries rest'
    )


def add_tsne_arguments(parser: argparse.ArgumentParser) -> None:
    """How tokens are drawn and colored."""
    parser.add_argument(
        '--color-by', choices=('image', 'mask', 'cluster'), default='image', help='(%(default)s)'
    )
    parser.add_argument(
        '--masks',
        metavar='DIR',
        help='folder of PNG files of labels for --color-by mask, named and sorted into folders '
        'as the images',
    )
    parser.add_argument(
        '--clusters', type=positive, default=8, help='for --color-by cluster (%(default)s)'
    )
    parser.add_argument(
        '--max-tokens',
        type=positive,
        default=1500,
        help='tokens drawn at random from all images together (%(default)s)',
    )


if __name__ == '__main__':
    start_tool(parse_args, has_log=True)

from matplotlib.figure import Figure
from mmengine.utils import track_iter_progress
from PIL import Image

from flsl_mm.apis.frozen import build_networks, usable_device
from flsl_mm.datasets.mask_files import read_mask
from flsl_mm.models import FrozenViT
from flsl_mm.models.place import PLACES
from flsl_mm.utils.images import evenly_spaced
from flsl_mm.visualization import figures, token_maps
from flsl_mm.visualization.images import (
    check_draws,
    find_image_files,
    long_image_note,
    read_pixels,
    resize_short_side,
)
from flsl_mm.visualization.map_figure import draw_maps
from flsl_mm.visualization.masks import find_mask, resize_mask
from flsl_mm.visualization.query_points import Point, parse_point
from flsl_mm.visualization.saving import save_arrays, save_figure
from flsl_mm.visualization.token_embedding import embed_tokens

Vits = Mapping[str, FrozenViT]


class Photo(NamedTuple):
    """An image as it is encoded; ``full_size`` is the file's height and width in pixels."""

    path: str
    pixels: np.ndarray
    full_size: tuple[int, int]

    @property
    def name(self) -> str:
        """What to call it."""
        return Path(self.path).stem


class Drawing(NamedTuple):
    """A picture, its arrays by name, and what else was found, for the JSON file."""

    figure: Figure
    arrays: dict[str, np.ndarray]
    record: dict[str, Any]


def load_photos(args: argparse.Namespace) -> list[Photo]:
    """Read and resize the images to show; for ``places`` followed by others for the mean."""
    paths = find_image_files(args.images)
    shown = evenly_spaced(paths, args.max_images)
    if args.kind == 'places':
        for_mean = [path for path in evenly_spaced(paths, args.mean_of) if path not in shown]
        shown += for_mean[: max(0, args.mean_of - len(shown))]
        print(f'the mean is that of {len(shown)} of {len(paths)} images (--mean-of)')
    elif len(paths) > args.max_images:
        print(f'showing {args.max_images} of {len(paths)} images, evenly spaced (--max-images)')
    photos = []
    for path in shown:
        image = read_pixels(path)
        resized = resize_short_side(image, args.short_side)
        if note := long_image_note(path, resized, args.short_side):
            print(note)
        photos.append(Photo(path, resized, image.shape[:2]))
    return photos


def load_networks(args: argparse.Namespace) -> dict[str, FrozenViT]:
    """Build the networks, by the name to show."""
    networks = build_networks(args, usual_name)
    for name, vit in networks.items():
        check_draws(vit, name)
    return {name: vit.to(args.device) for name, vit in networks.items()}


def usual_name(source: str) -> str:
    """What to call a network without a name: the file, or the design of random weights."""
    design = source.removeprefix('random:')
    name = Path(design).stem if os.path.exists(design) else design
    return name if design == source else f'random {name}'


def query_points(
    args: argparse.Namespace, photos: Sequence[Photo], vits: Vits
) -> list[list[Point]]:
    """Query points of every image, in fractions."""
    if not args.points:
        first = next(iter(vits.values()))
        return token_maps.pick_points(first, [p.pixels for p in photos], args.num_points)
    points = []
    for photo in photos:
        with errors_about(photo.path):
            points.append([parse_point(text, photo.full_size) for text in args.points])
    return points


def draw(args: argparse.Namespace, photos: Sequence[Photo], vits: Vits) -> Drawing:
    """The picture of a kind that shows maps."""
    images, names = [p.pixels for p in photos], [p.name for p in photos]
    points = query_points(args, photos, vits) if args.kind in ('attention', 'modes') else None
    if args.kind == 'attention':
        colors = figures.ATTENTION_COLORS
        maps = token_maps.attention_maps(vits, images, points, args.layers, track_iter_progress)
    elif args.kind == 'modes':
        colors = figures.MODE_COLORS
        for name, vit in vits.items():
            scale, origin = token_maps.mode_scale(vit, args.scale)
            print(f'{name}: scale {scale:.4g} ({origin})')
        maps = token_maps.mode_maps(
            vits, images, points, args.scale, args.iterate, track_iter_progress
        )
    elif args.kind == 'prefix':
        colors = figures.ATTENTION_COLORS
        maps = token_maps.prefix_maps(vits, images, args.layers, args.token, track_iter_progress)
    elif args.kind == 'places':
        return draw_place_tokens(args, photos, vits)
    elif args.kind == 'ass':
        colors = figures.ASS_COLORS
        maps = token_maps.ass_maps(vits, images, args.layers, track_iter_progress)
    else:
        colors = figures.PCA_COLORS
        maps = token_maps.pca_maps(vits, images, args.layers, track_iter_progress)
    arrays = {'points': stack_points(points)} if points else {}
    for label, found in maps.items():
        arrays[f'{label}/layers'] = np.array(found.layers)
        arrays |= {f'{label}/{i}': values for i, values in enumerate(found.maps)}
    record = dict(
        points=points, networks={label: describe_maps(found) for label, found in maps.items()}
    )
    return Drawing(draw_maps(images, maps, colors, names, points), arrays, record)


def draw_place_tokens(args: argparse.Namespace, photos: Sequence[Photo], vits: Vits) -> Drawing:
    """The picture of images, and below them of the mean token of each place."""
    shown = min(args.max_images, len(photos))
    maps = token_maps.place_maps(vits, [p.pixels for p in photos], shown, track_iter_progress)
    arrays = {f'{label}/layers': np.array(found.layers) for label, found in maps.items()}
    for label, found in maps.items():
        arrays |= {f'{label}/{i}': values for i, values in enumerate(found.maps)}
    networks = {label: describe_maps(found) for label, found in maps.items()}
    side = PLACES * max(vit.patch_size for vit in vits.values())
    sized = [np.array(Image.fromarray(p.pixels).resize((side, side))) for p in photos]
    pictures = [*(p.pixels for p in photos[:shown]), np.mean(sized, axis=0).astype(np.uint8)]
    names = [*(p.name for p in photos[:shown]), f'mean of {len(photos)}']
    figure = draw_maps(pictures, maps, figures.PCA_COLORS, names)
    return Drawing(figure, arrays, dict(networks=networks))


def stack_points(points: Sequence[Sequence[Point]]) -> np.ndarray:
    """Query points (images, N, 2); NaN where an image has fewer than another."""
    stacked = np.full((len(points), max(map(len, points)), 2), np.nan)
    for row, found in zip(stacked, points):
        row[: len(found)] = found
    return stacked


def describe_maps(found: token_maps.TokenMaps) -> dict[str, Any]:
    """A network's maps in numbers: those of each image are lists by layer and query."""
    record = dict(
        layers=found.layers,
        patch_size=found.patch_size,
        grids=[values.shape[2:4] for values in found.maps],
    )
    if found.maps[0].ndim == 4:  # not colors
        record['mean'] = [values.mean((2, 3)).tolist() for values in found.maps]
        record['max'] = [values.max((2, 3)).tolist() for values in found.maps]
    return dict(record, notes=found.notes) if found.notes else record


def load_mask(photo: Photo, folder: str) -> np.ndarray:
    """The mask of an image, resized as the image was.

    Raises:
        DataError: It is missing, cannot be read, or has another size.
    """
    path = find_mask(photo.path, folder)
    mask = read_mask(str(path))
    if mask.shape != photo.full_size:
        raise DataError(f'{path} has {mask.shape} pixels, its image {photo.full_size}')
    return resize_mask(mask, photo.pixels.shape[:2])


def draw_tokens(args: argparse.Namespace, photos: Sequence[Photo], vits: Vits) -> Drawing:
    """The scatter plots."""
    masks = None
    if args.color_by == 'mask':
        masks = [load_mask(photo, args.masks) for photo in photos]
    embeddings = embed_tokens(
        vits,
        [p.pixels for p in photos],
        args.layers,
        args.color_by,
        masks,
        args.clusters,
        args.max_tokens,
        args.seed,
        track_iter_progress,
    )
    arrays, networks = {}, {}
    for label, found in embeddings.items():
        arrays |= {
            f'{label}/layers': np.array(found.layers),
            f'{label}/points': np.stack(found.points),
            f'{label}/labels': found.labels,
            f'{label}/image': found.images,
            f'{label}/token': found.tokens,
        }
        labels, counts = np.unique(found.labels, return_counts=True)
        tokens = dict(zip(map(str, labels.tolist()), counts.tolist()))
        networks[label] = dict(layers=found.layers, tokens_by_label=tokens)
    figure = figures.draw_tsne(embeddings, args.color_by, [p.name for p in photos])
    return Drawing(figure, arrays, dict(networks=networks))


def save(drawing: Drawing, photos: Sequence[Photo], args: argparse.Namespace) -> None:
    """Write the picture and, beside it, its arrays and what was drawn."""
    out, paths = Path(args.out), [photo.path for photo in photos]
    save_arrays(dict(drawing.arrays, images=np.array(paths)), out.with_suffix('.npz'))
    settings = dict(vars(args), device=str(args.device))
    write_json(out.with_suffix('.json'), dict(settings=settings, images=paths, **drawing.record))
    save_figure(drawing.figure, out, args.dpi)
    print(
        f'\npicture: {out}\narrays:  {out.with_suffix(".npz")}\nnumbers: {out.with_suffix(".json")}'
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse_args(arguments)

    def command() -> None:
        args.device = usable_device(args.device)
        check_writable(args.out)
        log_details(Path(args.out).with_suffix('.log'))
        photos, vits = load_photos(args), load_networks(args)
        draw_kind = draw_tokens if args.kind == 'tsne' else draw
        save(draw_kind(args, photos, vits), photos, args)

    return run_command('visualize.py', command)


if __name__ == '__main__':
    sys.exit(main())
