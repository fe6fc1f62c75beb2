# Box-aligned k-NN on drawn scenes, which are taken as they are, 96 pixels. One feature of a box,
# not nine: with six classes one of nine is right two times out of three by chance.
task = dict(type='BoxKNN', ks=(20,), cells=1, resize=96, crop=96, num_workers=0)
