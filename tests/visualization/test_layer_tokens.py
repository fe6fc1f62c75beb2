import numpy as np
import pytest
import torch

from flsl_mm.utils.images import normalize
from flsl_mm.visualization.layer_tokens import layer_tokens, probe_attention, resolve_layers


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (37, 50, 3), dtype=np.uint8)


def test_layers_are_counted_from_either_end_or_spread_over_the_depth(small_vit):
    assert resolve_layers(small_vit, [1, -1]) == (1, 3)
    assert resolve_layers(small_vit, None) == (1, 2, 3)


@pytest.mark.parametrize('layer', [0, 4, -4])
def test_a_block_that_is_not_there_is_named(small_vit, layer):
    with pytest.raises(ValueError, match=f'no block {layer}: the network has 3'):
        resolve_layers(small_vit, [layer])


def test_the_last_tokens_are_those_of_the_network(small_vit, image):
    [expected] = small_vit.forward_tokens([normalize(torch.tensor(image).permute(2, 0, 1)[None])])
    first, last = layer_tokens(small_vit, image, [1, 3])
    torch.testing.assert_close(last, expected[0])
    assert first.shape == (5 * 7, 32) and not torch.allclose(first, last)


def test_probed_attention_is_what_the_block_mixes_values_with(small_vit, image):
    rows = probe_attention(small_vit, image, range(35), [2])[0]
    torch.testing.assert_close(rows.sum(dim=-1), torch.ones(35))
    # With one-hot values and a projection that averages the heads, the block returns the rows.
    [before] = layer_tokens(small_vit, image, [1])
    attn = small_vit.layers[1].attn
    q, k, _ = attn.qkv(small_vit.layers[1].ln1(before)).view(35, 3, 4, 8).permute(1, 2, 0, 3)
    one_hot = torch.eye(35).expand(4, -1, -1)
    mixed = torch.nn.functional.scaled_dot_product_attention(q, k, one_hot).mean(dim=0)
    torch.testing.assert_close(rows, mixed)


def test_a_token_attends_to_its_own_color(color_vit, two_colors):
    image = two_colors(16, 16, 8, 8)
    [[red, blue]] = probe_attention(color_vit, image, [0, 15], [4])
    is_blue = torch.zeros(4, 4)
    is_blue[2:, 2:] = 1
    torch.testing.assert_close(blue.view(4, 4), is_blue / 4, atol=1e-4, rtol=0)
    torch.testing.assert_close(red.view(4, 4), (1 - is_blue) / 12, atol=1e-4, rtol=0)
