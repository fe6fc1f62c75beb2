"""The fit of data and model, checked before anything is computed."""

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch.utils.data import DataLoader, Dataset

from ...datasets.image_content import image_size
from ...utils.errors import ConfigError, DataError
from ...utils.modules import unwrap_model


@HOOKS.register_module()
class DataFitHook(Hook):
    """Compare the heads' classes with those of the data, and batches with the sizes of images.

    - Every head has as many ``num_classes`` as the data set has classes (region proposals have
      none).
    - Images that are segmented whole go into one batch only where all have one size.

    Training checks the data of validation too, before its first iteration.

    Raises:
        ConfigError: They do not fit; names the entry of the config.
    """

    def before_train(self, runner: Runner) -> None:
        """Check the data of training and validation."""
        _check_classes(runner, runner.train_dataloader.dataset)
        if runner.val_loop is not None:
            self._check_evaluation(runner, runner.val_dataloader, 'val_dataloader')

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
        if name and isinstance(number, int) and not proposes and number != len(classes):
            raise ConfigError(
                f'model.{name}.num_classes is {number}, but the data have {len(classes)} classes '
                f"(the dataset's metainfo.classes: {', '.join(classes[:5])}"
                f'{", ..." if len(classes) > 5 else ""})'
            )


def _check_batch(loader: DataLoader, entry: str) -> None:
    """Compare the sizes of images of one batch."""
    number = loader.batch_size or 1
    if number == 1:
        return
    expected = None
    for index in range(len(loader.dataset)):
        path = loader.dataset.get_data_info(index)['img_path']
        try:
            size = image_size(path)
        except (OSError, ValueError, SyntaxError) as error:
            raise DataError(f'failed to load image: {path}: {error}') from error
        expected = expected or size
        if size != expected:
            raise ConfigError(
                f'{entry}.batch_size={number} needs images of one size: {path} is {size[0]} x '
                f'{size[1]} pixels, others {expected[0]} x {expected[1]}; images are '
                'evaluated whole, so set it to 1'
            )
