"""Numbers of things in words: 1 epoch, 2 epochs."""


def counted(number: int, thing: str) -> str:
    """A number and what it counts, in the singular or the plural.

    Args:
        number: How many there are.
        thing: What they are, in the singular, such as ``'epoch'`` or ``'data worker'``.

    Examples:
        >>> counted(1, 'process'), counted(2, 'process')
        ('1 process', '2 processes')
        >>> counted(0, 'category'), counted(3, 'epoch')
        ('0 categories', '3 epochs')
    """
    if number == 1:
        return f'{number} {thing}'
    if thing.endswith(('s', 'x', 'tch', 'sh')):
        return f'{number} {thing}es'
    if thing.endswith('y') and thing[-2] not in 'aeiou':
        return f'{number} {thing[:-1]}ies'
    return f'{number} {thing}s'


def every(number: int, thing: str) -> str:
    """How often, such as ``'every epoch'`` or ``'every 6 epochs'``."""
    return f'every {thing}' if number == 1 else f'every {counted(number, thing)}'
