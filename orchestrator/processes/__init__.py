"""The embedded default: a real server, the orchestrator's worker and local clients as child processes.

A guardian process ends them all when the orchestrator ends, even if it is killed.
"""
