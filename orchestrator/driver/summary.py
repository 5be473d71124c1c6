"""What became of a run, in short."""

from __future__ import annotations

from orchestrator.config import RunConfig
from orchestrator.store.best import best_of, is_over
from orchestrator.store.records import Summary
from orchestrator.store.run_folder import RunFolder


def summarise(config: RunConfig, folder: RunFolder, status: str, reason: str, wall_time_s: float) -> Summary:
    """Return the summary of a run as its folder shows it."""
    history = folder.history()
    last = history[-1] if history else None
    return Summary.model_validate(
        {
            "run_id": config.run_id,
            "status": status,
            "reason": reason,
            "rounds": len(history),
            "stopped": is_over(folder) if len(history) < config.rounds else "",
            "best_round": best_of(folder),
            "rounds_failed": sum(record.status == "failed" for record in history),
            "final": last.metrics if last else {},
            "evaluation_problem": last.evaluation_problem if last else "",
            "client_metrics": last.client_metrics if last else {},
            "client_partial": last.client_partial if last else {},
            "client_spread": last.client_spread if last else {},
            "num_evaluated": last.num_evaluated if last else 0,
            "num_not_evaluated": len(last.not_evaluated) if last else 0,
            "seed": config.seed,
            "workload": config.workload,
            "algorithm": config.algorithm,
            "checkpoint": f"checkpoints/{folder.checkpoint(len(history)).name}",
            "wall_time_s": round(wall_time_s, 3),
        }
    )
