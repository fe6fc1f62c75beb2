"""Draw docs/images/architecture.svg: one image from file to loss.

Example:
    python docs/draw_architecture.py
"""

from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

DATA, VIEWS, STUDENT, TEACHER, BOTH = '#dbe8f7', '#e3f1dc', '#fdebc8', '#e9e0f4', '#f6dcdc'

# name: (x, y of the center, width, color, title, where it is, what comes out)
BOXES = {
    'dataset': (1.7, 11.2, 3.0, DATA, 'UnlabeledImages', 'datasets/', 'an image file, and a seed'),
    'load': (5.15, 11.2, 3.0, DATA, 'LoadRGBImage', 'datasets/transforms/', '(H, W, 3) uint8'),
    'crop': (
        8.6,
        11.2,
        3.0,
        DATA,
        'RandomTeacherCrop',
        'datasets/transforms/',
        '(224, 224, 3) uint8',
    ),
    'pack': (
        12.05,
        11.2,
        3.0,
        DATA,
        'PackTeacherCrop',
        'datasets/transforms/',
        '(B, 3, 224, 224) uint8',
    ),
    'views': (
        6.9,
        8.9,
        12.0,
        VIEWS,
        'MultiViewPreprocessor',
        'models/data_preprocessors/',
        'cuts student and local views out of the crop, recolors, normalizes',
    ),
    'student': (
        3.6,
        6.7,
        5.4,
        STUDENT,
        'backbone: FLSLVisionTransformer',
        'models/backbones/',
        'tokens Z: (B, 196, 384) and 2 x (B, 36, 384)',
    ),
    'teacher': (
        10.2,
        6.7,
        5.4,
        TEACHER,
        'teacher.backbone: the same, moving average',
        'no gradient',
        'tokens Z+: (B, 196, 384)',
    ),
    'neck': (
        6.9,
        4.6,
        12.0,
        BOTH,
        'MeanShiftNeck',
        'models/necks/',
        'one query z of each 2 x 2 tokens: M = B x (49 + 9 + 9) = 67 B; '
        'mode m = SA(z, Z), positive m+ = CA(z, Z+)',
    ),
    'head': (
        3.6,
        2.5,
        5.4,
        STUDENT,
        'head: FLSLHead',
        'models/heads/',
        'prediction p_s of m: (M, 4096)',
    ),
    'teacher_head': (
        10.2,
        2.5,
        5.4,
        TEACHER,
        'teacher.head: the same, moving average',
        'no gradient',
        'prediction p_t of m+: (M, 4096)',
    ),
    'loss': (
        6.9,
        0.4,
        12.0,
        BOTH,
        'FLSLHead.loss',
        'models/heads/',
        'loss_intra of z and m;  loss_inter of p_t and p_s;  '
        'loss_volume of the mean of p_s over the whole batch',
    ),
}
HEIGHT = 1.15

# from, to, what goes along (beside the arrow's middle)
ARROWS = [
    ('dataset', 'load', ''),
    ('load', 'crop', ''),
    ('crop', 'pack', ''),
    ('pack', 'views', 'to the device'),
    ('views', 'student', 'student (B, 3, 224, 224), 2 locals (B, 3, 96, 96)'),
    ('views', 'teacher', 'teacher (B, 3, 224, 224)'),
    ('student', 'neck', ''),
    ('teacher', 'neck', ''),
    ('neck', 'head', 'm (M, 384)'),
    ('neck', 'teacher_head', 'm+ (M, 384)'),
    ('head', 'loss', ''),
    ('teacher_head', 'loss', ''),
]


def main() -> None:
    """Write the picture."""
    # Text stays text: searchable, and the same bytes wherever it is drawn.
    matplotlib.rcParams.update({'svg.fonttype': 'none', 'svg.hashsalt': 'flsl_mm'})
    figure = Figure(figsize=(11, 9.6), facecolor='white')
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 13.8), ylim=(-0.4, 12.2))
    axes.set_axis_off()
    for x, y, width, color, title, place, result in BOXES.values():
        corner = (x - width / 2, y - HEIGHT / 2)
        style = 'round,pad=0,rounding_size=0.1'
        axes.add_patch(FancyBboxPatch(corner, width, HEIGHT, style, fc=color, ec='#555555'))
        axes.text(x, y + 0.32, title, ha='center', va='center', fontsize=10, weight='bold')
        axes.text(x, y, place, ha='center', va='center', fontsize=8, color='#555555')
        axes.text(x, y - 0.34, result, ha='center', va='center', fontsize=9)
    for source, target, label in ARROWS:
        draw_arrow(axes, source, target, label)
    folder = Path(__file__).parent / 'images'
    figure.savefig(folder / 'architecture.svg', metadata=dict(Date=None))


def draw_arrow(axes, source: str, target: str, label: str) -> None:
    """An arrow between two boxes, straight across or down, with its label."""
    (x1, y1, width1), (x2, y2, width2) = BOXES[source][:3], BOXES[target][:3]
    if y1 == y2:
        start, end = (x1 + width1 / 2, y1), (x2 - width2 / 2, y2)
    else:  # down, in the middle of the narrower box where that is possible
        x = x1 if width1 < width2 else x2
        wide = BOXES[target if width1 < width2 else source]
        x_wide = min(max(x, wide[0] - wide[2] / 2 + 0.4), wide[0] + wide[2] / 2 - 0.4)
        first, second = (x, x_wide) if width1 < width2 else (x_wide, x)
        start, end = (first, y1 - HEIGHT / 2), (second, y2 + HEIGHT / 2)
    axes.annotate('', end, start, arrowprops=dict(arrowstyle='-|>', color='#333333', lw=1.2))
    middle = ((start[0] + end[0]) / 2 + 0.12, (start[1] + end[1]) / 2)
    axes.text(*middle, label, fontsize=9, va='center', bbox=dict(fc='white', ec='none', pad=1))


if __name__ == '__main__':
    main()
