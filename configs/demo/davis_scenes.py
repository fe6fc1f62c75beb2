# Objects followed through drawn videos of 128 x 96 pixels, at twice that size; the protocol is that
# of DAVIS-2017 (configs/davis) with a window that is as large in relation to the frame.
task = dict(type='DavisPropagation', short_side=192, radius=5)
