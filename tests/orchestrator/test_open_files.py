from __future__ import annotations

import resource

import pytest

from orchestrator.feasibility import check_open_files
from tasks.errors import ConfigurationError
from tests.support import run_config


def test_a_round_that_fits_into_the_open_files_is_let_through() -> None:
    # Given 24 + 40 files, and no limit, when a round has as many clients, then nothing is said
    check_open_files(run_config(num_clients=24), 64)
    check_open_files(run_config(num_clients=100, cohort=24), 64)
    check_open_files(run_config(num_clients=100, fraction=0.24), 64)
    check_open_files(run_config(num_clients=100), resource.RLIM_INFINITY)


def test_a_round_that_doesnt_is_refused_with_how_many_it_needs() -> None:
    # Given 25 + 40 files, when 64 are allowed, then it says both
    with pytest.raises(ConfigurationError, match="a round of 25 clients needs 65 open files, and 64 are allowed"):
        check_open_files(run_config(num_clients=25), 64)
