"""The maps behind the pictures on images that have two colors, and how they are laid out."""

import numpy as np
import pytest

from flsl_mm.visualization import (
    ass_figure,
    ass_maps,
    attention_figure,
    attention_maps,
    draw_maps,
    embed_tokens,
    mode_maps,
    modes_figure,
    pca_figure,
    pca_maps,
    pick_points,
    place_maps,
    tsne_figure,
)
from flsl_mm.visualization.figures import ASS_COLORS, draw_tsne
from flsl_mm.visualization.map_figure import fit, shorten, text_width
from flsl_mm.visualization.saving import figure_pixels

POINTS = [[(0.1, 0.1), (0.9, 0.9)]]  # on red, on blue


@pytest.fixture
def images(two_colors):
    """16 x 16 tokens of 4 pixels, of which 8 x 8 are blue."""
    return [two_colors(64, 64, 32, 32)]


@pytest.fixture
def is_blue():
    blue = np.zeros((16, 16), dtype=bool)
    blue[8:, 8:] = True
    return blue


def map_axes(figure):
    """The axes of pictures, without that of the color bar."""
    return [axis for axis in figure.axes if axis.images]


def test_ass_is_the_share_of_the_image_that_is_alike(color_vit, images, is_blue):
    found = ass_maps({'a': color_vit}, images)['a']
    assert found.layers == (1, 2, 3, 4) and found.patch_size == 4
    for scores in found.maps[0][:, 0]:
        np.testing.assert_allclose(scores, np.where(is_blue, 1 / 3, 1), atol=1e-5)


def test_attention_and_modes_stay_within_the_color_of_the_query(color_vit, images, is_blue):
    expected = np.stack([~is_blue / 192, is_blue / 64])
    attention = attention_maps({'a': color_vit}, images, POINTS)['a']
    np.testing.assert_allclose(attention.maps[0], expected[None], atol=1e-5)
    for iterate in (False, True):
        modes = mode_maps({'a': color_vit}, images, POINTS, scale=5.0, iterate=iterate)['a']
        np.testing.assert_allclose(modes.maps[0], expected[None], atol=1e-5)
        assert modes.notes == [[['192 of 256 tokens', '64 of 256 tokens']]]


def test_principal_colors_are_the_same_for_the_same_thing_in_all_images(
    color_vit, images, two_colors, is_blue
):
    images = [*images, two_colors(40, 64, 20, 32)]
    found = pca_maps({'a': color_vit}, images)['a']
    square, wide = (colors[0, 0] for colors in found.maps)
    assert square.shape == (16, 16, 3) and wide.shape == (10, 16, 3)
    red, blue = square[0, 0], square[-1, -1]
    assert abs(red[0] - blue[0]) == pytest.approx(1)
    np.testing.assert_allclose(square[..., 0], np.where(is_blue, blue[0], red[0]), atol=1e-6)
    np.testing.assert_allclose(wide[[0, -1], [0, -1], 0], [red[0], blue[0]], atol=1e-6)


def test_the_mean_of_a_place_has_a_color_of_its_own_only_where_places_differ(color_vit, images):
    square = images[0]
    swapped = square[..., ::-1].copy()  # red for blue
    for others, share in (([square] * 3, 1), ([square, swapped] * 2, 0)):
        found = place_maps({'a': color_vit}, others, 1)['a']
        image, mean = (colors[0, 0, ..., 0] for colors in found.maps)
        assert mean.shape == (14, 14)
        assert found.notes == [[['']], [[f'place share {share:.2f}']]]
        assert (mean[0, 0] == pytest.approx(image[0, 0])) == bool(share)


def test_points_are_picked_on_both_colors(color_vit, images, is_blue):
    [points] = pick_points(color_vit, images, 2)
    assert [is_blue[int(y * 16), int(x * 16)] for x, y in points] == [False, True]


def test_one_layer_gives_a_column_for_each_network_and_a_row_for_each_query(
    color_vit, small_vit, images
):
    figure = attention_figure({'ours': color_vit, 'other': small_vit}, images, POINTS)
    axes = map_axes(figure)
    assert [axis.get_title() for axis in axes[:3]] == ['image', 'ours\nblock 4', 'other\nblock 3']
    assert len(axes) == 2 * 3
    assert [len(axis.lines) for axis in axes] == [2, 0, 0] * 2  # a circle with a rim
    assert [axes[i].lines[0].get_xdata()[0] for i in (0, 3)] == pytest.approx([5.9, 57.1])
    assert axes[1].images[0].get_array().shape == (16, 16)
    assert axes[2].images[0].get_array().shape == (8, 8)
    assert axes[1].images[0].get_array().max() == pytest.approx(1)
    [bar] = [axis for axis in figure.axes if axis not in axes]
    assert 'attention' in bar.get_ylabel()


def test_several_layers_give_a_column_each_and_a_row_for_each_network(
    color_vit, small_vit, images, two_colors
):
    images = [*images, two_colors(30, 50, 10, 10)]
    maps = ass_maps({'ours': color_vit, 'other': small_vit}, images)
    figure = draw_maps(images, maps, ASS_COLORS, names=['one', 'two'])
    axes = map_axes(figure)
    heads = ['image', 'block 1', 'block 2', 'block 3', 'block 4']
    assert [axis.get_title() for axis in axes[:5]] == heads
    assert len(axes) == 2 * (5 + 4)  # the other network has three blocks
    assert [axes[i].get_ylabel() for i in (0, 5, 9, 14)] == ['one', 'one', 'two', 'two']
    assert [axes[i].get_ylabel() for i in (1, 6)] == ['ours', 'other']
    # All on the extent of the image: padding is cut off.
    assert {axis.get_xlim() for axis in axes[9:]} == {(-0.5, 49.5)}
    assert axes[10].images[0].get_extent() == [-0.5, 51.5, 31.5, -0.5]


def test_blocks_of_networks_of_unlike_depth_are_named_together(color_vit, small_vit, images):
    figure = ass_figure({'ours': color_vit, 'other': small_vit}, images, layers=[1, -1])
    assert [axis.get_title() for axis in figure.axes[:3]] == ['image', 'block 1', 'block 4 / 3']


def test_modes_say_how_large_they_are(color_vit, images):
    figure = modes_figure({'ours': color_vit}, images, POINTS, scale=5.0)
    texts = [text.get_text() for axis in map_axes(figure) for text in axis.texts]
    assert texts == ['192 of 256 tokens', '64 of 256 tokens']


def test_scatter_plots_have_a_legend(color_vit, images, two_colors):
    images = [*images, two_colors(30, 50, 10, 10)]
    embeddings = embed_tokens({'ours': color_vit}, images, [1, 4], max_tokens=40)
    figure = draw_tsne(embeddings, 'image', names=['one', 'two'])
    assert [axis.get_title() for axis in figure.axes] == ['block 1', 'block 4']
    assert [len(axis.collections[0].get_offsets()) for axis in figure.axes] == [40, 40]
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ['one', 'two']


def test_scatter_plots_of_one_layer_stand_side_by_side(color_vit, small_vit, images):
    vits = {'ours': color_vit, 'other': small_vit}
    for layers, rows, heads in (
        ([-1], 1, ['ours\nblock 4', 'other\nblock 3']),
        ([1, -1], 2, ['block 1', 'block 4', 'block 1', 'block 3']),
    ):
        figure = tsne_figure(vits, images, layers, max_tokens=40)
        assert [axis.get_title() for axis in figure.axes] == heads
        assert figure.axes[0].get_gridspec().nrows == rows
        assert figure.axes[0].get_ylabel() == ('' if rows == 1 else 'ours')


def test_figures_become_pixels_without_any_global_state(color_vit, images):
    from matplotlib import pyplot

    pixels = figure_pixels(pca_figure({'ours': color_vit}, images), dpi=50)
    assert pixels.dtype == np.uint8 and pixels.shape[2] == 3
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 10
    assert not pyplot.get_fignums()


def edges(figure, axis) -> tuple[float, float]:
    """Left and right edge of an axes' title, in inches, when drawn."""
    box = axis.title.get_window_extent()
    return box.x0 / figure.dpi, box.x1 / figure.dpi


@pytest.mark.parametrize('size', [(300, 96), (128, 96), (96, 128)])
def test_pictures_stand_in_columns_beside_the_color_bar_and_below_it(color_vit, two_colors, size):
    images = [two_colors(*size, 10, 10)] * 6
    figure = ass_figure({'ours': color_vit}, images, [-1])
    figure_pixels(figure, dpi=50)
    places = [axis.get_position() for axis in map_axes(figure)]
    for column in (places[::2], places[1::2]):
        np.testing.assert_allclose([place.x0 for place in column], column[0].x0, atol=1e-3)
        np.testing.assert_allclose([place.x1 for place in column], column[0].x1, atol=1e-3)


@pytest.mark.parametrize('size', [(96, 128), (8, 600)])
def test_the_color_bar_s_label_fits_beside_one_flat_row(color_vit, two_colors, size):
    figure = modes_figure({'a': color_vit}, [two_colors(*size, 4, 10)], [[(0.5, 0.5)]])
    figure_pixels(figure, dpi=50)
    label = figure.axes[-1].yaxis.label.get_window_extent()
    assert label.y0 > 0 and label.y1 < figure.bbox.y1


@pytest.mark.parametrize('name', ['W' * 40, 'i' * 80, 'a-network-of-a-rather-long-name'])
def test_long_names_of_networks_stay_over_their_columns(color_vit, images, name):
    vits = {f'{name}{i}': color_vit for i in range(2)}
    for figure in (pca_figure(vits, images), tsne_figure(vits, images, [-1], max_tokens=40)):
        figure_pixels(figure, dpi=50)
        shown = [axis for axis in figure.axes if '\n' in axis.get_title()]
        (_, end), (start, right) = (edges(figure, axis) for axis in shown)
        assert end < start and right < figure.get_figwidth()


def test_a_name_is_as_long_as_there_is_room():
    name = 'flsl_vits16_300e'
    assert fit(name, text_width(name, 8), 8) == name
    assert fit(name, text_width(name, 8) - 0.01, 8) == 'flsl_v…16_300e'
    assert text_width('W' * 9, 8) > 2 * text_width('i' * 9, 8)


@pytest.mark.parametrize(
    'letters, expected', [(9, 'val_00001'), (8, 'val…0001'), (5, 'va…01'), (1, 'v…1')]
)
def test_a_long_name_loses_its_middle(letters, expected):
    assert shorten('val_00001', letters) == expected
