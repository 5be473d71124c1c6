"""Who may take part: the operator's side of enrolment, and the command ``python -m orchestrator.trust``."""
