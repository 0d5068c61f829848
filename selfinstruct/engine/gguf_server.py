"""llama.cpp's own HTTP server over a .gguf file, until this process is ended.

Run by its path, and never imported: ``gguf_server.py FILE HOST PORT NAME THREADS CONTEXT``. Nothing but xllamacpp is
loaded, so the process is as small as the server is.
"""

from __future__ import annotations

import signal
import sys

import xllamacpp


def main() -> None:
    """Load the file, listen, and wait; a file that cannot be loaded ends it with exit code 1 and a line of why."""
    file, host, port, name, threads, context = sys.argv[1:]
    params = xllamacpp.CommonParams()
    params.model.path = file
    params.model_alias = {name}
    params.hostnames = [host]
    params.port = int(port)
    params.n_ctx = int(context)
    params.n_parallel = 1  # a second slot brings no throughput on a CPU, and texts that depend on each other
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = int(threads)
    params.cache_ram_mib = 0  # else the state of every prompt is kept, up to 8 GiB
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as problem:
        sys.exit(f"{file}: llama.cpp cannot load it ({problem})")
    sys.stderr.write(f"llama.cpp listens at {server.listening_address}\n")  # for the log
    signal.pause()


if __name__ == "__main__":
    main()
