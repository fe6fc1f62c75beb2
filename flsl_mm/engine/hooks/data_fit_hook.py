"""The fit of data and model, checked before anything is computed."""

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch.utils.data import DataLoader, Dataset

from ...datasets.image_channels import image_size
from ...datasets.orientation import describe_sizes
from ...datasets.transforms.load_fitting_image import stated_size
from ...datasets.uavdt import UAVDTDataset
from ...utils.errors import ConfigError, DataError
from ...utils.modules import unwrap_model


@HOOKS.register_module()
class DataFitHook(Hook):
    """Compare the heads' classes with those of the data, and batches with the sizes of images.

    - Every head has as many ``num_classes`` as the data set has classes (region proposals have
      none).
    - Images that are segmented whole go into one batch only where all have one size.
    - Images of validation have the size that their annotations are for, before training.

    Training checks the data of validation too, before its first iteration.

    Raises:
        ConfigError: They do not fit; names the entry of the config.
        DataError: An image or mask of validation is none, or has another size.
    """

    def before_train(self, runner: Runner) -> None:
        """Check the data of training and validation."""
        _check_classes(runner, runner.train_dataloader.dataset)
        if runner.val_loop is not None:
            self._check_evaluation(runner, runner.val_dataloader, 'val_dataloader')
            _check_sizes(runner.val_dataloader.dataset)

    def before_test(self, runner: Runner) -> None:
        """Check the data of a test."""
        self._check_evaluation(runner, runner.test_dataloader, 'test_dataloader')

    def _check_evaluation(self, runner: Runner, loader: DataLoader, entry: str) -> None:
        _check_classes(runner, loader.dataset)
        if hasattr(unwrap_model(runner.model), 'decode_head'):
            _check_batch(loader, entry)


def _check_classes(runner: Runner, dataset: Dataset) -> None:
    """Compare the classes of a data set with those of every head."""
    classes = getattr(dataset, 'metainfo', {}).get('classes')
    if classes is None:
        return
    for name, module in unwrap_model(runner.model).named_modules():
        number = getattr(module, 'num_classes', None)
        proposes = name.rpartition('.')[2] == 'rpn_head'
        judges = isinstance(number, int) and number and not proposes  # timm's trunks have 0 classes
        if name and judges and number != len(classes):
            raise ConfigError(
                f'model.{name}.num_classes is {number}, but the data have {len(classes)} classes '
                f"(the dataset's metainfo.classes: {', '.join(classes[:5])}"
                f'{", ..." if len(classes) > 5 else ""})'
            )


def _check_sizes(dataset: Dataset) -> None:
    """Compare images with the size that their annotations are for, by the headers of their files.

    Raises:
        DataError: One does not fit, whatever its orientation.
    """
    if isinstance(dataset, UAVDTDataset):  # whose sizes are read from the images
        return
    for index in range(len(dataset)):
        sample = dataset.get_data_info(index)
        stated, mask = stated_size(sample)
        if stated is not None:
            found = _stored_size(sample['img_path'])
            if stated not in (found, found[::-1]):
                raise DataError(describe_sizes(sample['img_path'], found, stated, mask))


def _stored_size(path: str) -> tuple[int, int]:
    try:
        return image_size(path)
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f'failed to load image: {path}: {error}') from error


def _check_batch(loader: DataLoader, entry: str) -> None:
    """Compare the sizes of images of one batch."""
    number = loader.batch_size or 1
    if number == 1:
        return
    expected = None
    for index in range(len(loader.dataset)):
        path = loader.dataset.get_data_info(index)['img_path']
        size = _stored_size(path)
        expected = expected or size
        if size != expected:
            raise ConfigError(
                f'{entry}.batch_size={number} needs images of one size: {path} is {size[0]} x '
                f'{size[1]} pixels, others {expected[0]} x {expected[1]}; images are '
                'evaluated whole, so set it to 1'
            )
