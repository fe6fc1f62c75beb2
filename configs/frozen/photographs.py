# Frozen features on photographs, at sizes for small networks on a CPU: docs/photographs.md.
# Data: tools/dataset_converters/prepare_photographs.py.
_root = 'data/photographs'

# 50 classes of Tiny-ImageNet, one feature of a box. Chance is 2 %.
knn = dict(
    type='BoxKNN',
    data_root=f'{_root}/tiny',
    ks=(20,),
    cells=1,
    resize=96,
    crop=96,
    train_per_class=20,
    max_test_images=750,
    num_workers=0,
)
# The same with a grid of 3 x 3 features in each box.
knn9 = dict(knn, cells=3)
# A variant: DAVIS-2016's masks, 240 pixels, the six shortest sequences that nothing was chosen by.
davis = dict(
    type='DavisPropagation',
    data_root=f'{_root}/davis',
    sequences=[
        *('motocross-jump', 'scooter-black', 'libby'),
        *('drift-straight', 'horsejump-high', 'kite-surf'),
    ],
    short_side=240,
)
dense = dict(
    type='DenseSuite',
    data_root=f'{_root}/camvid',
    tasks=[
        dict(type='SegmentationRetrieval'),
        dict(type='TokenClustering', starts=5),
        dict(type='CollapseMonitors'),
    ],
    images=dict(num_classes=11, max_images=60),
    short_side=240,
)
# Photographs of people, 59 tags of what they wear.
clothing = dict(
    type='DenseSuite',
    data_root=f'{_root}/clothing',
    tasks=[dict(type='SegmentationRetrieval'), dict(type='TokenClustering', starts=5)],
    images=dict(num_classes=59, max_images=60),
    short_side=240,
)
