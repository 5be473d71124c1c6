"""Federated averaging.

McMahan, Moore, Ramage, Hampson, Agüera y Arcas: Communication-Efficient Learning of Deep Networks from Decentralized
Data, AISTATS 2017 (https://arxiv.org/abs/1602.05629), Algorithm 1: the clients run E epochs of SGD from the global
parameters (ClientUpdate), and the server takes the mean of their models, weighted by examples (line 8):
w_{t+1} = sum_k (n_k / n) w_{t+1}^k. These are the defaults of :class:`celeriac.algorithms.Algorithm`.
"""

from __future__ import annotations

from celeriac.algorithms import Algorithm

FEDAVG = Algorithm(name="fedavg")
