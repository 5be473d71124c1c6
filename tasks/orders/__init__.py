"""The kinds of orders, a file each: what an order says, and which statuses answer it.

What a client does with an order is in the file of the same name in :mod:`worker.handlers`.
"""
