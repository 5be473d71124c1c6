"""Bytes too large for a message: in Redis, or in files where all is on one machine."""
