"""What a server is started with: its command line, its environment, and the folder of its log."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfinstruct import resources
from selfinstruct.engine import options

CPU_CACHE_GB = "4"
"""The KV cache of vLLM's CPU build, unless VLLM_CPU_KVCACHE_SPACE says otherwise: without, it wants 92 % of the memory
to be free."""

LOGS_KEPT_SECONDS = 14 * 86_400.0
"""How long a log is of interest."""

KEY_VARIABLE = "VLLM_API_KEY"
"""The variable in which vLLM looks for the key it asks for."""


def state_folder() -> Path:
    """Where logs and records of servers are: ``$XDG_STATE_HOME/selfinstruct/engines``, below the home by default."""
    return resources.user_folder("XDG_STATE_HOME", ".local/state") / "engines"


@dataclass(frozen=True)
class Launch:
    """What a server is started with. ``gpus`` are device numbers, such as ``0,1``; empty leaves the choice to vLLM.

    ``restarts`` is how often a server that ended is started again, ``patience`` how many seconds a start may take.
    ``state`` is the folder of logs and of the records by which a later run finds a server whose owner is gone.
    """

    python: Path
    model: str
    served_as: str
    engine: Mapping[str, Any] = field(default_factory=dict)
    gpus: str = ""
    state: Path = field(default_factory=state_folder)
    patience: float = 1800.0
    restarts: int = 3

    def command(self, port: int) -> list[str]:
        """The words of its command line; the key is not among them."""
        model = str(Path(self.model).expanduser()) if self.model.startswith("~") else self.model
        words = [str(self.python), "-m", "vllm.entrypoints.openai.api_server", "--model", model]
        words += ["--served-model-name", self.served_as, "--host", "127.0.0.1", "--port", str(port)]
        # As long a context as fits, or it would not start where a whole one of the model's does not; and no line in the
        # log for each call.
        engine = {"max_model_len": "auto", "disable_uvicorn_access_log": True, **self.engine}
        devices = len(self.gpus.split(",")) if self.gpus else 1
        if devices > 1 and not engine.keys() & {"tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"}:
            engine["tensor_parallel_size"] = devices
        return words + options.argv(engine)

    def environment(self, key: str) -> dict[str, str]:
        """Its environment: ours, less what looks like the key of another service, and no report to anybody.

        The working directory is no place to look for its packages.
        """
        kept = (name for name in os.environ if not name.endswith("_KEY") or name.startswith("AWS_"))
        ours = {name: os.environ[name] for name in kept}
        gpus = {"CUDA_VISIBLE_DEVICES": self.gpus} if self.gpus else {}
        quiet = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1"}
        asked = {"VLLM_HOST_IP": "127.0.0.1", "VLLM_CPU_KVCACHE_SPACE": CPU_CACHE_GB}
        return {**asked, **ours, **quiet, **gpus, KEY_VARIABLE: key}

    @property
    def log(self) -> Path:
        """Where its output goes; two runs of one model have two."""
        at = f"-gpu{self.gpus.replace(',', '-')}" if self.gpus else ""
        return self.state / f"{self.served_as.replace('/', '--')}{at}-{os.getpid()}.log"


def forget_old_logs(state: Path) -> None:
    """Remove the logs of servers that have long been gone; one at work writes every few seconds."""
    for log in state.glob("*.log"):
        with contextlib.suppress(OSError):  # another run has removed it, or it is another user's
            if time.time() - log.stat().st_mtime > LOGS_KEPT_SECONDS:
                log.unlink()
