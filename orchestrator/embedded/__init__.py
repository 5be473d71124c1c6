"""The embedded default: a real server, the orchestrator's worker and local clients as child processes.

All of them end with the orchestrator, however it ends: a guardian process sees to that.
"""
