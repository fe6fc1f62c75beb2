# Frozen features on drawn scenes. A k-NN of one feature of a box, not nine: with six classes one of
# nine is right two times out of three by chance. The scenes are taken as they are, 96 pixels.
knn = dict(type='BoxKNN', ks=(20,), cells=1, resize=96, crop=96, num_workers=0)
# Videos of 128 x 96 pixels at twice that size; the protocol is that of DAVIS-2017 (configs/davis)
# with a window that is as large in relation to the frame.
davis = dict(type='DavisPropagation', short_side=192, radius=5)
dense = dict(
    type='DenseSuite',
    tasks=[dict(type='SegmentationRetrieval'), dict(type='TokenClustering')],
    images=dict(reduce_zero_label=True, max_images=120),
    short_side=96,
)
