# COCO 2017 (docs/coco.md), or with dense.data_root own images in a layout that is known.
dense = dict(type='DenseSuite', data_root='data/coco', short_side=448, num_workers=2)
