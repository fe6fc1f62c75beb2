from .resumable_sampler import ResumableSampler
from .sample_key import SampleKey

__all__ = ['ResumableSampler', 'SampleKey']
