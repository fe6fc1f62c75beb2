"""The demo's report: what was measured, what it looks like, and by which commands."""

import os
import platform
from collections.abc import Sequence

import torch
from mmengine.config import Config

from ..apis.steps import Step
from ..datasets.scenes import CLASSES
from ..models import build_vit
from ..utils.files import whole_file
from ..visualization import modes_figure, pca_figure, tsne_figure
from ..visualization.html_report import Cell, HtmlReport
from ..visualization.saving import save_figure
from .comparison import Comparison, means_table, verdict
from .detections import SCORE, detect_scenes, detections_figure
from .pictures import enlarge, margins_figure, sample_pictures, scenes_figure, training_figure
from .plan import TITLES, Plan
from .results import read_chance, read_comparisons, read_detection, read_pretraining

METHODS = tuple(TITLES.values())


def make_report(plan: Plan, steps: Sequence[Step], seconds: dict[str, float]) -> str:
    """Write the report into the work dir, and one of its pictures beside it.

    Args:
        plan: Of the demo, all of whose steps are done.
        steps: The steps.
        seconds: How long each took, by name.

    Returns:
        str: The main numbers and what they say, as plain text.
    """
    comparisons = read_comparisons(plan)
    report = HtmlReport('FLSL in ten minutes')
    _write_summary(report, plan, comparisons)
    _write_scenes(report, plan, steps)
    _write_pretraining(report, plan, steps)
    _write_frozen(report, plan, comparisons, steps)
    _write_maps(report, plan)
    _write_detection(report, plan, steps)
    _write_commands(report, steps, seconds)
    with whole_file(plan.report) as draft:
        draft.write_text(report.text(), encoding='utf-8')
    words = [verdict(comparisons, 'FLSL', other) for other in ('random', 'DINO')]
    return '\n'.join([means_table(comparisons, METHODS), *words])


def _write_summary(report: HtmlReport, plan: Plan, comparisons: Sequence[Comparison]) -> None:
    sizes = plan.sizes
    weights = sum(p.numel() for p in build_vit(plan.network('flsl', 0)).parameters())
    report.paragraph(
        f'A Vision Transformer of {weights / 1e6:.1f} million weights was trained on '
        f'{sizes.images} drawn scenes without their labels, by FLSL and by DINO: the same network, '
        f'views and number of iterations, runs of each: {sizes.seeds}. Then the frozen features '
        'were compared with those of random weights.',
        lead=True,
    )
    for other in ('random', 'DINO'):
        report.paragraph(verdict(comparisons, 'FLSL', other), lead=True)
    report.paragraph(
        'These are toy networks on toy images: the numbers show that the code learns and what each '
        'command does; they say nothing about how the methods compare on photographs.'
    )


def _write_scenes(report: HtmlReport, plan: Plan, steps: Sequence[Step]) -> None:
    report.heading('The scenes')
    report.paragraph(
        'Six classes of objects, which differ in shape and pattern, on four kinds of ground. Hues '
        'are shared between classes, so color alone does not tell them apart. The same generator '
        'writes all layouts: ImageNet with boxes, COCO, ADE20K, DAVIS-2017 and UAVDT.'
    )
    report.figure(
        scenes_figure(sample_pictures(6, (96, 96))), 'Six scenes (96 x 96 pixels) and their classes'
    )
    report.commands(_texts(steps, 'scenes'))


def _write_pretraining(report: HtmlReport, plan: Plan, steps: Sequence[Step]) -> None:
    report.heading('Pretraining')
    report.paragraph(
        'No labels are used here. "Tokens of a cluster" is how many tokens a query attends to in '
        'its mean-shift step: near the number of tokens in a view, everything would be one '
        'cluster; near 1, every token its own.'
    )
    report.figure(training_figure(read_pretraining(plan)), 'Training logs of seed 0')
    report.paragraph(
        "Curves that may surprise. DINO's loss and the inter loss are cross-entropies: a student "
        'that says nothing has the logarithm of the number of prototypes, and so they start there. '
        'They rise above it while student and teacher grow sure of different prototypes, and so '
        'cannot be read as progress. The volume loss falls as more prototypes are used. Where '
        "FLSL's curves bend in the middle of the run, positives change from those by position to "
        'those by similarity. "Tokens of a cluster" moves as the tokens of random weights, which '
        'are much alike, part. Whether anything was learned shows in the frozen features below.'
    )
    report.commands(_texts(steps, 'pretrain_flsl_seed0', 'pretrain_dino_seed0'))


def _write_frozen(
    report: HtmlReport, plan: Plan, comparisons: Sequence[Comparison], steps: Sequence[Step]
) -> None:
    report.heading('Frozen features')
    report.paragraph(
        'Nothing is trained for these numbers (percent, larger is better): mean ± standard '
        f'deviation over {plan.sizes.seeds} seeds, the seeds below. "Random" is the network before '
        'training.'
    )
    rows = []
    for comparison in comparisons:
        best = max(METHODS, key=comparison.mean)
        rows.append(
            [
                comparison.title,
                *(Cell.of_seeds(comparison.values[method], method == best) for method in METHODS),
            ]
        )
    report.table(['', *METHODS], rows)
    report.figure(margins_figure(comparisons, METHODS), 'Every seed is a dot; lines are means')
    report.paragraph(
        'k-NN top-1: an image is classified by the feature in the middle of its largest box; with '
        f'shuffled labels that gives {read_chance(plan):.1f}. (The paper takes nine features of a '
        'box, any of which may be right: with six classes two of three images are, by chance.) '
        'DAVIS J&F: the masks of the first frame are carried through a video by the similarity of '
        'tokens. k-means mIoU: clusters of tokens, as many as classes, '
        'matched to classes; over-clustered: four times as many, each called after its most '
        'frequent class. Retrieval mIoU: every token takes the class of its most similar '
        'training tokens.'
    )
    report.commands(_texts(steps, 'frozen_seed0'))


def _write_maps(report: HtmlReport, plan: Plan) -> None:
    report.heading('What the networks see')
    vits = {title: build_vit(plan.network(method, 0), seed=0) for method, title in TITLES.items()}
    pictures = sample_pictures(5, (96, 96), seed=7)
    images = [enlarge(picture.image, 2) for picture in pictures]
    maps = pca_figure(vits, images)
    save_figure(maps, plan.maps, dpi=54)
    report.figure(
        maps,
        'Tokens of all five scenes by their three principal components: what has one color is '
        'similar to the network (scenes at twice the size, for finer maps)',
    )
    report.figure(
        modes_figure(vits, images[:3], scale=_self_scale(plan)),
        'The tokens that the mode of a query (green) is made of; in the corner, their effective '
        'number',
    )
    more = sample_pictures(24, (96, 96), seed=8)
    report.figure(
        tsne_figure(
            vits,
            [picture.image for picture in more],
            layers=(-1,),
            color_by='mask',
            masks=[picture.labels for picture in more],
            label_names=dict(enumerate(('seam', *CLASSES))),
            max_tokens=800,
        ),
        't-SNE of the tokens of 24 scenes, colored by class',
    )


def _self_scale(plan: Plan) -> float:
    """The scale of pretraining, from the config that it left in its work dir."""
    [path] = plan.checkpoint('flsl', 0).parent.glob('*.py')
    return Config.fromfile(path).model.neck.self_scale


def _write_detection(report: HtmlReport, plan: Plan, steps: Sequence[Step]) -> None:
    report.heading('Fine-tuning: Mask R-CNN')
    curves = read_detection(plan)
    report.paragraph(
        f'The same small Mask R-CNN, trained for {plan.sizes.finetune_epochs} epochs on '
        f'{plan.sizes.finetune_images} annotated scenes, from the weights of seed 0 of each method '
        'and from random weights. One run each: differences of a point or two may be chance. '
        'Average precision that is near zero at first is usual: nothing counts that overlaps an '
        'object by less than half.'
    )
    rows = []
    for title, by_method in curves.items():
        last = {method: by_method[method][1][-1] for method in METHODS}
        best = max(last, key=last.get)
        rows.append([title, *(Cell(f'{last[m]:.1f}', best=m == best) for m in METHODS)])
    report.table(['percent', *METHODS], rows)
    report.figure(training_figure(curves), 'COCO average precision on the validation scenes')
    found = detect_scenes(plan)
    counts = ', '.join(f'{t} {sum(len(s.objects) for s in scenes)}' for t, scenes in found.items())
    report.figure(
        detections_figure(found),
        f'What the detectors find in validation scenes, with scores of at least {SCORE} (objects '
        f'found: {counts}). Their training was short: missed objects and wrong names are to be '
        'expected',
    )
    report.commands(_texts(steps, 'finetune_flsl', 'finetune_dino', 'finetune_random'))


def _write_commands(report: HtmlReport, steps: Sequence[Step], seconds: dict[str, float]) -> None:
    report.heading('How this was made')
    report.paragraph(
        f'On {platform.machine()} with {os.cpu_count()} CPU cores, Python '
        f'{platform.python_version()}, torch {torch.__version__}; one thread to a process. The '
        f'commands took {sum(seconds.values()) / 60:.1f} minutes together, several at a time.'
    )
    lines = [f'# {step.title}: {seconds[step.name]:.0f} s\n{step.text}' for step in steps]
    report.commands(lines, f'All {len(steps)} commands')


def _texts(steps: Sequence[Step], *names: str) -> list[str]:
    return [step.text for step in steps if step.name in names]
