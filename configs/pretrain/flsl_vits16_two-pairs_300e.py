# The views of the paper's text (Appendix E.3): two teacher and student views from the same
# location with different photometry, each student querying the other pair's teacher; no locals.
_base_ = ['./flsl_vits16_300e.py']

model = dict(
    num_teacher_views=2,
    data_preprocessor=dict(num_teacher_views=2, local_views=None),
)
