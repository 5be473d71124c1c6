"""A Kaplan-Meier curve of all clients' patients: each day's numbers at risk and of deaths are all that is sent."""

import numpy as np
from lifelines.datasets import load_waltons

from celeriac import Algorithm, ClientData, Result, TrainResult, Workload

DAYS = np.arange(1, 81)


class Study(Workload):
    def initial_parameters(self, context):
        return {"survival": np.ones(len(DAYS))}

    def results(self, context):
        counts = Result("sum", shape=DAYS.shape, dtype="int64")
        return {"at_risk": counts, "deaths": counts}

    def client_data(self, source):
        patients = load_waltons()[source.part.index :: source.part.count]
        return ClientData(train=patients, test=None)

    def train(self, parameters, data, context):
        last_day, died = data["T"].to_numpy(), data["E"].to_numpy() == 1
        at_risk = (last_day >= DAYS[:, None]).sum(axis=1)
        deaths = (last_day[died] == DAYS[:, None]).sum(axis=1)
        return TrainResult({}, len(data), results={"at_risk": at_risk, "deaths": deaths})


def step(server):
    at_risk, deaths = server.results["at_risk"], server.results["deaths"]
    return {"survival": np.cumprod(1 - deaths / np.maximum(at_risk, 1))}, {}


KAPLAN_MEIER = Algorithm("kaplan-meier", step=step, sends_parameters=False)
