from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import ConfigurationError
from tasks.spec import WorkloadSpec, canonical

KEYS = st.from_regex(r"[a-z](-?[a-z0-9]){0,5}", fullmatch=True)
VALUES = st.from_regex(r"[A-Za-z0-9.:=/-]{1,8}", fullmatch=True)


@given(
    name=st.sampled_from(["digits", "my.module:name"]),
    parameters=st.dictionaries(KEYS, VALUES, max_size=8),
    data=st.data(),
)
def test_whatever_the_order_of_keys_there_is_one_way_to_write_a_spec(
    name: str, parameters: dict[str, str], data: st.DataObject
) -> None:
    # Given parameters in any order, with blanks between them
    shuffled = data.draw(st.permutations(sorted(parameters.items())))
    text = " , ".join([name, *(f"{key} = {value}" for key, value in shuffled)])
    # When the spec is read
    spec = WorkloadSpec.parse(text)
    # Then it is the name, and the keys in their order; and what is written is read as it was
    assert str(spec) == ",".join([name, *(f"{key}={value}" for key, value in sorted(parameters.items()))])
    assert WorkloadSpec.parse(str(spec)) == spec
    assert spec.parameters == parameters


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("digits", "digits"),
        ("mnist,split=dirichlet:0.1,net=cnn", "mnist,net=cnn,split=dirichlet:0.1"),
        (" mnist , net = cnn ", "mnist,net=cnn"),
        ("mnist,split_seed=3", "mnist,split-seed=3"),
        ("my.module:name,depth=a=b", "my.module:name,depth=a=b"),
        ("command, train = Rscript  train.R ", "command,train=Rscript  train.R"),
        ("", ""),
    ],
)
def test_a_spec_is_written_so(text: str, written: str) -> None:
    # Given a spec, when it is written in the one way, then it is so
    assert canonical(text) == written


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("mnist,", "''"),
        ("mnist,cnn", "'cnn'"),
        ("mnist,net=", "'net='"),
        ("mnist,=cnn", "'=cnn'"),
        ("mnist,net=c\tnn", "'net=c\\tnn'"),
        ("mnist,net x=cnn", "'net x=cnn'"),
        ("mnist,1st=cnn", "'1st=cnn'"),
    ],
)
def test_a_parameter_of_another_form_is_refused_with_how_to_write_it(text: str, wrong: str) -> None:
    # Given something else, when it is read, then the message repeats it and says how it is written
    with pytest.raises(ConfigurationError) as caught:
        WorkloadSpec.parse(text)
    assert str(caught.value) == (
        f"workload {text!r}: {wrong} is no parameter: "
        "write NAME[,KEY=VALUE...], no comma in a value, like mnist,net=cnn"
    )


@pytest.mark.parametrize("text", ["mnist,net=cnn,net=2nn", "mnist,a-b=1,a_b=1"])
def test_a_key_that_is_given_twice_is_refused(text: str) -> None:
    # Given one key twice, with a hyphen or an underscore, when it is read, then that is an error
    with pytest.raises(ConfigurationError, match="is given twice"):
        WorkloadSpec.parse(text)


def test_a_spec_has_room_in_a_clients_announcement() -> None:
    # Given 300 characters and 301, when they are read, then the longer one is refused
    assert len(canonical("mnist,net=" + "x" * 290)) == 300
    with pytest.raises(ConfigurationError, match="over 300 characters"):
        canonical("mnist,net=" + "x" * 291)


def test_arguments_have_underscores() -> None:
    # Given a key with a hyphen, when the arguments are asked for, then Python can name it
    assert WorkloadSpec.parse("mnist,split-seed=3,net=cnn").arguments() == {"net": "cnn", "split_seed": "3"}


def test_a_parameter_is_added_in_its_place() -> None:
    # Given a spec, when a parameter is added, then the keys are in order still
    assert str(WorkloadSpec.parse("mnist,split=iid").with_parameter("net", "cnn")) == "mnist,net=cnn,split=iid"


@pytest.mark.parametrize("value", ["", "cnn,split=iid", "c\nnn"])
def test_a_value_that_would_be_more_than_one_is_not_added(value: str) -> None:
    # Given a value with a comma, when it is added, then it is refused rather than read as two parameters
    with pytest.raises(ConfigurationError, match="is no parameter"):
        WorkloadSpec.parse("mnist").with_parameter("net", value)
