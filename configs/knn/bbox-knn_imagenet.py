# Box-aligned k-NN on ImageNet: paper, Table 7 and the ablations.
knn = dict(
    type='BoxKNN',
    data_root='data/imagenet',
    ks=(20, 10, 100, 200),
    temperature=0.07,
    resize=256,
    crop=224,
    cells=3,  # 3 x 3 features of each box
    cache_dir='work_dirs/knn_features',
)
