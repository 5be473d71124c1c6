"""A federation from Python: ``from celeriac import federate, load_model``."""
