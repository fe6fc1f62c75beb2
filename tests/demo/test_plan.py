from pathlib import Path

from flsl_mm.demo import Plan, Sizes


def test_every_step_comes_after_what_it_needs():
    steps = Plan(Path('out'), Sizes()).steps()
    names = [step.name for step in steps]
    assert len(set(names)) == len(names)
    for number, step in enumerate(steps):
        assert set(step.after) <= set(names[:number])


def test_commands_name_files_of_the_project(project_root):
    for step in Plan(Path('out'), Sizes()).steps():
        assert (project_root / step.command[1]).is_file()
        for word in step.command:
            path = word.split('=')[-1]
            assert not path.startswith('configs/') or (project_root / path).is_file()


def test_methods_get_the_same_budget():
    steps = {step.name: step for step in Plan(Path('out'), Sizes()).steps()}
    for seed in range(3):
        flsl, dino = (steps[f'pretrain_{m}_seed{seed}'].text for m in ('flsl', 'dino'))
        assert flsl.replace('flsl', 'dino') == dino
