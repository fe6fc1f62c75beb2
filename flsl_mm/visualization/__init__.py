"""The paper's pictures of frozen networks, and curves of training."""

from .curves_figure import curves_figure
from .embedding_figure import draw_embeddings
from .figures import ass_figure, attention_figure, modes_figure, pca_figure, tsne_figure
from .map_figure import Colors, draw_maps
from .token_embedding import TokenEmbedding, embed_tokens
from .token_maps import (
    TokenMaps,
    ass_maps,
    attention_maps,
    mode_maps,
    pca_maps,
    pick_points,
    place_maps,
    prefix_maps,
)
from .training_log import read_training_log

__all__ = [
    'Colors',
    'TokenEmbedding',
    'TokenMaps',
    'ass_figure',
    'ass_maps',
    'attention_figure',
    'attention_maps',
    'curves_figure',
    'draw_embeddings',
    'draw_maps',
    'embed_tokens',
    'mode_maps',
    'modes_figure',
    'pca_figure',
    'pca_maps',
    'pick_points',
    'place_maps',
    'prefix_maps',
    'read_training_log',
    'tsne_figure',
]
