"""Pictures of a few fixed images, as the network in training sees them."""

from collections.abc import Sequence

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from ...utils.errors import ConfigError
from ...utils.images import evenly_spaced
from ...utils.modules import unwrap_model


@HOOKS.register_module()
class FeatureMapsHook(Hook):
    """Add maps of fixed images to TensorBoard and the other backends of the visualizer.

    Draws the aggregated similarity score by layer and the attention of query points in the last
    block of the teacher, before the first epoch and after every ``interval`` epochs. The maps are
    made outside the training graph by the teacher, which is always in evaluation mode, and nothing
    is drawn at random: training, and a resumed run, are the same with this hook as without it.

    Off without images, which is the default of the pretraining configs. To switch it on::

        --cfg-options default_hooks.feature_maps.images=/my/images

    Args:
        images: Image files and folders, or one of them; None for no pictures at all.
        interval: Epochs between two pictures.
        max_images: How many of the images are used, evenly spaced.
        points: Query points as x, y in fractions of an image.
        short_side: Side in pixels that images are resized to; the long side gets at most four
            times as long, which is logged.

    Raises:
        ConfigError: A number is not positive, a point is outside the image, or the model has no
            teacher.
        DataError: An image cannot be read, or there is none; before training starts.
    """

    priority = 'LOW'

    def __init__(
        self,
        images: str | Sequence[str] | None = None,
        interval: int = 10,
        max_images: int = 4,
        points: Sequence[tuple[float, float]] = ((0.5, 0.5), (0.15, 0.15)),
        short_side: int = 224,
    ) -> None:
        if min(interval, max_images, short_side) < 1:
            raise ConfigError(
                'FeatureMapsHook: interval, max_images and short_side must be at least 1, got '
                f'{interval}, {max_images} and {short_side}'
            )
        if not points or any(not 0 <= value <= 1 for point in points for value in point):
            raise ConfigError(f'FeatureMapsHook: points must be x, y in [0, 1], got {points}')
        self.sources = [images] if isinstance(images, str) else images
        self.interval = interval
        self.max_images = max_images
        self.points = [tuple(point) for point in points]
        self.short_side = short_side

    def before_train(self, runner: Runner) -> None:
        """Read the images; draw them at the start of a run that is not resumed."""
        if self.sources is None or not is_main_process():
            return
        # Here, as matplotlib is not needed where the hook is off.
        from ...visualization import images

        model = unwrap_model(runner.model)
        if not hasattr(model, 'teacher'):
            raise ConfigError(
                f'FeatureMapsHook draws what the teacher sees, and {type(model).__name__} has none'
            )
        images.check_draws(model.teacher.backbone, 'the network in training')
        paths = evenly_spaced(images.find_image_files(self.sources), self.max_images)
        self.images = []
        for path in paths:
            image = images.resize_short_side(images.read_pixels(path), self.short_side)
            if note := images.long_image_note(path, image, self.short_side):
                runner.logger.info(note)
            self.images.append(image)
        if runner.iter == 0:
            self._draw(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Draw every ``interval`` epochs and at the end."""
        if self.sources is None or not is_main_process():
            return
        last = runner.epoch + 1 == runner.max_epochs
        if last or self.every_n_epochs(runner, self.interval):
            self._draw(runner)

    @torch.no_grad()
    def _draw(self, runner: Runner) -> None:
        """Add the pictures of this moment."""
        from ...visualization import ass_figure, attention_figure
        from ...visualization.saving import figure_pixels

        vits = {'teacher': unwrap_model(runner.model).teacher.backbone}
        pictures = {
            'feature_maps_ass': ass_figure(vits, self.images),
            'feature_maps_attention': attention_figure(
                vits, self.images, [self.points] * len(self.images)
            ),
        }
        for name, figure in pictures.items():
            runner.visualizer.add_image(name, figure_pixels(figure), step=runner.iter)
