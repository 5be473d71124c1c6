"""Who is who: the keys that both sides hold, and what they sign with them.

A client's private key is made at the client and stays there; so does the orchestrator's.
"""
