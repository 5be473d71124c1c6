"""The site's own rules (``CLIENT_POLICY``): what orders ask of a client is held against them before it is done.

:mod:`~worker.policy.rules` is the file, :mod:`~worker.policy.site` holds orders and answers against it,
:mod:`~worker.policy.protection` clips an update and adds noise to it. ``python -m worker.policy`` checks a file and
says in words what it means.
"""
