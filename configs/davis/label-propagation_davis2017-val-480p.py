# Semi-supervised DAVIS-2017 with frozen features: the settings of every published figure.
davis = dict(
    type='DavisPropagation',
    data_root='data/DAVIS',
    split='val',
    short_side=480,
    num_previous=7,
    radius=12,
    topk=5,
    temperature=0.1,
    out_dir='work_dirs/davis',
)
