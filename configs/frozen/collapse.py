# Signs of collapse, which need no labels: any folder of images, with collapse.data_root=DIR.
collapse = dict(
    type='CollapseMonitors',
    data_root='data/images',
    images=dict(max_images=500),
    short_side=448,
    num_workers=2,
)
