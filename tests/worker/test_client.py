from __future__ import annotations

from dataclasses import replace

import pytest

from tasks.context import TimeBudget
from tasks.device import resolved
from tasks.errors import ConfigurationError
from tests.support import train_order
from worker.client import Client


def test_a_workload_is_told_the_device_that_its_client_was_given(client: Client) -> None:
    # Given clients with no device, with the first that is there, and with one that isn't
    devices = ["cpu", "auto"]
    # When an order's context is made, then it has the device by its name; without it the message says what there is
    found = [replace(client, device=device).context(train_order(), TimeBudget()).device for device in devices]
    assert found == ["cpu", resolved("auto")]
    with pytest.raises(ConfigurationError, match="device 'cuda:99' isn't there"):
        replace(client, device="cuda:99").context(train_order(), TimeBudget())
