"""What is asked for is checked before anything is loaded, and refused in one line."""

import pytest

from robustsnn.bench.options import PARTS, Options
from robustsnn.cli import main
from robustsnn.ground.errors import UserError


def test_lists_and_shapes_are_read():
    asked = Options(parts="data, step,data", image="1x8x8", growth_steps="8,2,4,2", neuron_shapes="2x3,4x5x6")
    assert asked.several("parts") == ["data", "step"]
    assert asked.shape == (1, 8, 8)
    assert asked.numbers("growth_steps") == [2, 4, 8]
    assert asked.layers == [(2, 3), (4, 5, 6)]
    assert asked.size() == "T=4 B=4 1x8x8"


def test_the_default_is_every_part():
    assert Options().several("parts") == list(PARTS)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"parts": "step,speed"}, "--parts speed: allowed are neuron, step"),
        ({"parts": ","}, "--parts: nothing is named"),
        ({"networks": "vgg12"}, "--networks vgg12: allowed are vgg_small"),
        ({"growth_network": "vgg12"}, "--growth_network vgg12: allowed"),
        ({"precisions": "float16"}, "--precisions float16: allowed are float32, bfloat16"),
        ({"neurons": "IF,PLIF"}, "--neurons PLIF: allowed are IF, LIF"),
        ({"image": "8x8"}, "--image 8x8: three numbers"),
        ({"image": "3x8x-8"}, "--image -8: a whole number from 1"),
        ({"rounds": 0}, "--rounds 0: a whole number from 1"),
        ({"threads": 0}, "--threads 0: a whole number"),
        ({"batch": 1 << 30}, "--batch 1073741824: a whole number from 1 to 1048576"),
        ({"seed": -1}, "--seed -1: allowed is 0 to"),
        ({"neuron_shapes": ""}, "--neuron_shapes: nothing is named"),
        ({"neuron_shapes": "2xmany"}, "--neuron_shapes many: a whole number"),
        ({"neuron_steps": "4,x"}, "--neuron_steps x: a whole number"),
        ({"growth_steps": "4,4"}, "--growth_steps 4,4: a growth needs two different sizes"),
        ({"growth_batches": ""}, "--growth_batches: nothing is named"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(wrong, said):
    with pytest.raises(UserError) as refused:
        Options(**wrong)
    assert str(refused.value).startswith(said)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--parts", "speed"], "--parts speed: allowed are"),
        (["--rounds", "many"], "rounds"),
        (["--json", "/nowhere/at/all.json"], "--json /nowhere/at/all.json: give a file name in an existing folder"),
        (["--json", "."], "--json .: give a file name"),
        (["--compare", "a.json"], "compare"),
        (["--compare", "a.json", "b.json"], "a.json: no such file or directory; give the name of one that is there"),
        (["--compare", "a.json", "b.json", "--rounds", "7"], "--compare measures nothing; leave out --rounds"),
        (["--speed", "1"], "speed"),
    ],
)
def test_wrong_input_gets_one_line_and_exit_code_2(arguments, said, capsys):
    assert main(["bench", *arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert said in lines[0]
