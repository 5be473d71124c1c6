from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tests.support
from tasks.context import TimeBudget
from tasks.errors import ConfigurationError, LoadError
from tasks.workload import ClientData, DataSource, Part, load_workload
from tests.support import PULL, Pull


@given(count=st.integers(1, 10**6), data=st.data())
def test_a_part_is_read_as_it_is_written(count: int, data: st.DataObject) -> None:
    # Given a part
    part = Part(data.draw(st.integers(0, count - 1)), count)
    # When it is written and read, then it is the same
    assert Part.parse(str(part)) == part


def test_the_second_of_four_parts_has_index_one() -> None:
    # Given the text, when it is read, then parts are counted from 1 and indices from 0
    assert Part.parse("2/4") == Part(index=1, count=4)
    assert str(Part(1, 4)) == "2/4"


@pytest.mark.parametrize("text", ["", "/", "2", "2/", "/4", "a/b", "-1/4", "1.0/4", "1/4/4", "²/4", "1 of 4"])
def test_a_part_of_another_form_is_refused(text: str) -> None:
    # Given something else, when it is read, then the message says how to write it
    with pytest.raises(ConfigurationError, match=r"write the number of the part and of all parts, like 2/4"):
        Part.parse(text)


@pytest.mark.parametrize("text", ["0/4", "5/4", "1/0", "0/0"])
def test_a_part_that_there_isnt_is_refused_as_it_was_written(text: str) -> None:
    # Given a number that is none of the parts, when it is read, then the message repeats it
    number, count = text.split("/")
    with pytest.raises(ConfigurationError, match=f"part {number} of {count}: parts are counted from 1"):
        Part.parse(text)


def test_a_source_is_the_whole_data_set_unless_told_otherwise() -> None:
    # Given nothing, when a source is made, then it is all of what the workload brings along
    assert DataSource() == DataSource(folder=None, part=Part(0, 1))


def test_a_budget_is_over_when_its_time_is_up() -> None:
    # Given a clock that shows 100, 101, … each time it is looked at, and a budget of three seconds
    budget = TimeBudget(3, clock=itertools.count(100).__next__)
    # When it is asked four times, then from 103 on it is over
    assert [budget.is_over() for _ in range(4)] == [False, False, True, True]


def test_a_budget_that_nobody_asked_at_its_end_cut_nothing_short() -> None:
    # Given a budget of three seconds
    now = [0.0]
    budget = TimeBudget(3, clock=lambda: now[0])
    # When it is asked at 2.9 s and not after, then nothing was cut short although its time is up
    now[0] = 2.9
    assert not budget.is_over()
    now[0] = 4.0
    assert not budget.cut_short
    # And when it is asked, then it was
    assert budget.is_over()
    assert budget.cut_short


def test_a_budget_that_is_over_stays_over() -> None:
    # Given a budget that was over
    now = [5.0]
    budget = TimeBudget(0, clock=lambda: now[0])
    assert budget.is_over()
    # When the clock goes back, then it is over still
    now[0] = 0.0
    assert budget.is_over()


class WithDepth(Pull):
    def __init__(self, depth: str, *, num_heads: str = "1") -> None:
        self.depth, self.num_heads = depth, num_heads


class WithAny(Pull):
    def __init__(self, **parameters: str) -> None:
        self.parameters = parameters


class Broken(Pull):
    def __init__(self) -> None:
        raise OSError("no such device")


class Picky(Pull):
    def __init__(self, depth: str) -> None:
        raise ConfigurationError(f"depth={depth}: 1 to 9 are allowed")


INSTANCE = Pull()


@pytest.fixture
def _own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Classes and an instance of the user's own, in a module that is found by name."""
    for name in ("WithDepth", "WithAny", "Broken", "Picky", "INSTANCE"):
        monkeypatch.setattr(tests.support, name, globals()[name], raising=False)


@pytest.mark.usefixtures("_own")
@pytest.mark.parametrize("spec", [PULL, "tests.support:INSTANCE"])
def test_a_workload_is_made_from_its_class_or_is_a_copy_of_an_instance(spec: str) -> None:
    # Given a class, or an instance of it, when it is loaded twice, then these are workloads of their own
    one, other = load_workload(spec), load_workload(spec)
    assert type(one) is type(other) is Pull
    assert one is not other
    assert INSTANCE not in (one, other)


@pytest.mark.usefixtures("_own")
@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("tests.support:PULL", "is str, not a Workload: subclass tasks.workload.Workload"),
        ("tests.support:announcement", "is function, not a Workload: subclass tasks.workload.Workload"),
        ("tests.support:Path", "is Path, not a Workload: subclass tasks.workload.Workload"),
        ("tasks.workload:Workload", "making it failed: TypeError: Can't instantiate abstract class Workload"),
        ("tests.support:Broken", "making it failed: OSError: no such device"),
    ],
)
def test_what_is_no_workload_or_cant_be_made_is_refused(spec: str, reason: str) -> None:
    # Given something else than a workload, the base class itself, or a class that fails
    # When it is loaded, then the message says why, and what to do
    with pytest.raises(LoadError, match=reason):
        load_workload(spec)


def test_a_class_that_is_no_workload_isnt_called(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a class that does something when it is called
    called: list[str] = []

    class Command:
        def __init__(self, args: str, shell: str) -> None:
            called.append(args)

    monkeypatch.setattr(tests.support, "Command", Command, raising=False)
    # When a run's folder names it as a workload, then it is refused, and not called
    with pytest.raises(LoadError, match=r"is Command, not a Workload: subclass tasks.workload.Workload"):
        load_workload("tests.support:Command,args=rm,shell=1")
    assert called == []


@pytest.mark.usefixtures("_own")
def test_a_class_is_called_with_the_parameters_as_strings() -> None:
    # Given a class with parameters
    # When it is loaded with some, then it has them, and its own default for the other
    workload = load_workload("tests.support:WithDepth,depth=3")
    assert isinstance(workload, WithDepth)
    assert (workload.depth, workload.num_heads) == ("3", "1")
    # And hyphens are underscores
    other = load_workload("tests.support:WithDepth,depth=3,num-heads=8")
    assert isinstance(other, WithDepth)
    assert other.num_heads == "8"


@pytest.mark.usefixtures("_own")
def test_a_class_that_takes_any_parameter_gets_them_all() -> None:
    # Given a class with **parameters, when it is loaded, then it has all
    workload = load_workload("tests.support:WithAny,a=1,b-c=2")
    assert isinstance(workload, WithAny)
    assert workload.parameters == {"a": "1", "b_c": "2"}


@pytest.mark.usefixtures("_own")
@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mnist,nett=cnn", "workload 'mnist' has no parameter 'nett': it has net, split, split-seed"),
        ("tests.support:WithDepth,deep=3", "WithDepth' has no parameter 'deep': it has depth, num-heads"),
        ("tests.support:Pull,depth=3", "workload 'tests.support:Pull' has no parameter 'depth': it has none"),
        ("tests.support:INSTANCE,depth=3", "'tests.support:INSTANCE' has no parameter 'depth': it has none"),
        ("tests.support:WithDepth", "making it failed: TypeError: .* missing 1 required positional argument: 'depth'"),
        ("tests.support:Picky,depth=10", r"^depth=10: 1 to 9 are allowed$"),
    ],
)
def test_a_wrong_parameter_is_refused_with_those_there_are(spec: str, message: str) -> None:
    # Given a key that the workload hasn't, one too few, or a value that it refuses in its own words
    # When it is loaded, then the message lists what there is, or is the workload's
    with pytest.raises(ConfigurationError, match=message):
        load_workload(spec)


class Sampled:
    """What knows a number of examples as a loader does."""

    sampler = range(7)


@pytest.mark.parametrize(
    ("train", "num_train"),
    [([0] * 3, 3), (([0] * 4, [0] * 4), 4), ({"a": [0] * 5}, 5), (Sampled(), 7), (SimpleNamespace(targets=[0] * 2), 2)],
)
def test_where_data_has_a_length_its_number_may_be_left_out(train: object, num_train: int) -> None:
    # Given data with a length, when it is a client's, then that is its number, unless another is given
    assert ClientData(train, None).num_train == num_train
    assert ClientData(train, None, 1).num_train == 1
    # And so may that of what is held out, where it is known
    assert ClientData([], train).num_test == num_train
    assert (ClientData([], train, num_test=1).num_test, ClientData([], None).num_test) == (1, None)


def test_data_without_a_length_needs_its_number() -> None:
    # Given data without a length, when it is a client's, then the number is asked for
    with pytest.raises(ConfigurationError, match=r"ClientData\(train=count\): .* num_train is needed"):
        ClientData(itertools.count(), None)
