task = dict(
    cells=3,
    crop=224,
    data_root='data/imagenet',
    ks=(
        20,
        10,
        100,
        200,
    ),
    max_test_images=5000,
    resize=256,
    temperature=0.07,
    train_per_class=20,
    type='BoxKNN',
)
