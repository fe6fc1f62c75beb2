"""Images of other channels than RGB, normalized for detectors and segmentors."""

from collections.abc import Mapping, Sequence

from mmengine.model import BaseDataPreprocessor
from mmengine.registry import MODELS

from ...datasets.image_channels import COLORS
from ...utils.errors import errors_about
from ...utils.images import check_input, check_statistics, normalize


@MODELS.register_module()
class ManyChannelPreprocessor(BaseDataPreprocessor):
    """Normalize images of any number of channels; a library's own preprocessor does the rest.

    mmdet's and mmengine's know images of one and of three channels only.

    Args:
        inner: Config of the preprocessor that pads and stacks, without ``mean`` and ``std``.
        mean: Of each channel, R, G, B first, in 0-255.
        std: Their standard deviations.
        bgr_to_rgb: Whether the first three channels come as B, G, R, as OpenCV reads them.
        non_blocking: Whether not to wait for transfers to the device.

    Raises:
        ConfigError: ``mean`` and ``std`` are no statistics of as many channels.
    """

    def __init__(
        self,
        inner: Mapping,
        mean: Sequence[float],
        std: Sequence[float],
        bgr_to_rgb: bool = False,
        non_blocking: bool = False,
    ) -> None:
        super().__init__(non_blocking)
        self.mean, self.std = check_statistics(mean, std)
        self.inner = MODELS.build(dict(inner))
        order = list(range(len(self.mean)))
        if bgr_to_rgb and len(order) >= COLORS:
            order[:COLORS] = order[COLORS - 1 :: -1]
        self.order = order

    def forward(self, data: dict, training: bool = False) -> dict:
        """Normalize, and do what ``inner`` does.

        Args:
            data: ``inputs``, a list of images (C, H, W) with values in 0-255, and their samples.
            training: Passed on.

        Raises:
            DataError: An image has other channels; names its file.
        """
        data = self.cast_data(data)
        samples = data.get('data_samples') or [None] * len(data['inputs'])
        for image, sample in zip(data['inputs'], samples):
            with errors_about(getattr(sample, 'img_path', None) or 'an image'):
                check_input(image.shape[0], len(self.order))
        images = [normalize(i[self.order].float(), self.mean, self.std) for i in data['inputs']]
        return self.inner({**data, 'inputs': images}, training)
