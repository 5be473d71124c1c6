"""What both sides share: orders and answers, named arrays, blobs, presence, the workload interface.

Imports nothing of the other packages.
"""

from tasks.own_packages import claim

claim()
