"""How a start can fail: which process stops, and the last words of its traceback, as version 0.32 has them.

The words are those of vllm 0.32, transformers 5.19, huggingface_hub 2.4, safetensors and torch 2.13, long lists cut
short; ``%(name)s`` is a place to be filled. The Hub's address is not a word anybody should look for.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

HUB = "https://hub.invalid"  # $HF_ENDPOINT or the Hub's address stands here
KEPT_MEMORY = "https://docs.vllm.ai/en/latest/configuration/conserving_memory/"


class Failure(NamedTuple):
    """Where it stops (the command line, the API server, the engine), its last words, and the calls that led there."""

    where: Literal["options", "server", "engine"]
    words: str
    calls: tuple[str, ...]
    code: int = 1


_CONFIG: tuple[str, ...] = (
    "vllm/engine/arg_utils.py create_engine_config",
    "vllm/engine/arg_utils.py create_model_config",
)
_CONFIG += ("pydantic/_internal/_dataclasses.py __init__",)
_HUB: tuple[str, ...] = (_CONFIG[0], "vllm/transformers_utils/config.py maybe_override_with_speculators")
_HUB += ("transformers/configuration_utils.py get_config_dict", "transformers/utils/hub.py cached_files")
_LOAD = ("vllm/v1/worker/gpu_worker.py load_model", "vllm/model_executor/model_loader/base_loader.py load_model")
_WEIGHTS = (*_LOAD, "vllm/model_executor/model_loader/default_loader.py _prepare_weights")
_CACHE: tuple[str, ...] = (
    "vllm/v1/engine/core.py _initialize_kv_caches",
    "vllm/v1/core/kv_cache_utils.py get_kv_cache_configs",
)
_CACHE += ("vllm/v1/core/kv_cache_utils.py _check_enough_kv_cache_memory",)


def _invalid(message: str, config: str = "ModelConfig") -> str:
    """A ``ValueError`` in a config object, as pydantic tells it."""
    return (
        f"pydantic_core._pydantic_core.ValidationError: 1 validation error for {config}\n  Value error, {message} "
        "[type=value_error, input_value=ArgsKwargs((), {'model': ...nderer_num_workers': 1}), input_type=ArgsKwargs]\n"
        "    For further information visit https://errors.pydantic.dev/2.14/v/value_error"
    )


FAILURES: dict[str, Failure] = {
    # --- before anything is looked at
    "bad-option": Failure(
        "options",
        "usage: api_server.py [-h] [--headless] [--api-server-count API_SERVER_COUNT]\n"
        "                     [--config CONFIG] [--grpc] [--model MODEL]\n"
        "                     [model_tag]\n"
        "api_server.py: error: unrecognized arguments: --no-such-option",
        (),
        code=2,
    ),
    "no-device": Failure(
        "options",
        "RuntimeError: Failed to infer device type, please set the environment variable `VLLM_LOGGING_LEVEL=DEBUG` "
        "to turn on verbose logging to help debug the issue.",
        ("vllm/entrypoints/launchers/cli_args.py make_arg_parser", "vllm/config/device.py __post_init__"),
    ),
    # --- in the API server: its port, the model's name, its config
    "port-taken": Failure(
        "server",
        "OSError: [Errno 98] Address already in use",
        (
            "vllm/entrypoints/launchers/launcher.py setup_server",
            "vllm/entrypoints/launchers/launcher.py create_server_socket",
        ),
    ),
    "no-such-folder": Failure(
        "server",
        "OSError: Repo id must be in the form 'repo_name' or 'namespace/repo_name': '%(model)s'. Use `repo_type` "
        "argument if needed.",
        _HUB,
    ),
    "hub-missing": Failure(
        "server",
        f"OSError: %(model)s is not a local folder and is not a valid model identifier listed on '{HUB}/models'\n"
        "If this is a private repository, make sure to pass a token having permission to this repo either by logging "
        "in with `hf auth login` or by passing `token=<your_token>`",
        _HUB,
    ),
    "hub-gated": Failure(
        "server",
        f"OSError: You are trying to access a gated repo.\nMake sure to have access to it at {HUB}/%(model)s.\n"
        f"403 Client Error.\n\nCannot access gated repo for url {HUB}/%(model)s/resolve/main/config.json.\n"
        "Access to model %(model)s is restricted and you are not in the authorized list.",
        _HUB,
    ),
    "hub-unreachable": Failure(
        "server",
        f"OSError: We couldn't connect to '{HUB}' to load the files, and couldn't find them in the cached files.\n"
        "Check your internet connection or see how to run the library in offline mode at "
        "'https://hub.invalid/docs/transformers/installation#offline-mode'.",
        _HUB,
    ),
    "hub-offline": Failure(
        "server",
        "huggingface_hub.errors.LocalEntryNotFoundError: Cannot find an appropriate cached snapshot folder for the "
        "specified revision on the local disk and outgoing traffic has been disabled. To enable repo look-ups and "
        "downloads online, pass 'local_files_only=False' as input.",
        ("vllm/engine/arg_utils.py __post_init__", "huggingface_hub/_snapshot_download.py snapshot_download"),
    ),
    "missing-config": Failure(
        "server",
        _invalid(
            "Invalid repository ID or local directory specified: '%(model)s'.\n"
            "Please verify the following requirements:\n1. Provide a valid Hugging Face repository ID.\n"
            "2. Specify a local directory that contains a recognized configuration file.\n"
            "   - For Hugging Face models: ensure the presence of a 'config.json'.\n"
            "   - For Mistral models: ensure the presence of a 'params.json'.\n"
        ),
        _CONFIG,
    ),
    "unknown-architecture": Failure(
        "server",
        _invalid(
            "Model architectures ['%(architecture)s'] are not supported for now. Supported architectures: "
            "dict_keys(['AfmoeForCausalLM', 'ApertusForCausalLM', 'LlamaForCausalLM', 'Qwen3ForCausalLM'])"
        ),
        _CONFIG,
    ),
    "unknown-model-type": Failure(
        "server",
        _invalid(
            "The checkpoint you are trying to load has model type `flying` but Transformers does not recognize this "
            "architecture. This could be because of an issue with the checkpoint, or because your version of "
            "Transformers is out of date.\n\nYou can update Transformers with the command "
            "`pip install --upgrade transformers`."
        ),
        _CONFIG,
    ),
    "too-long": Failure(
        "server",
        _invalid(
            "User-specified max_model_len (%(length)s) is greater than the derived max_model_len "
            "(max_position_embeddings=%(derived)s.0 or model_max_length=None in model's config.json). To allow "
            "overriding this maximum, set the env var VLLM_ALLOW_LONG_MAX_MODEL_LEN=1. VLLM_ALLOW_LONG_MAX_MODEL_LEN "
            "must be used with extreme caution."
        ),
        _CONFIG,
    ),
    "unknown-quantization": Failure(
        "server",
        _invalid("Unknown quantization method: int3. Must be one of ['awq', 'fp8', 'gptq', 'compressed-tensors']."),
        _CONFIG,
    ),
    "quantization-too-new": Failure(
        "server",
        _invalid(
            "The quantization method awq_marlin is not supported for the current GPU. Minimum capability: 80. "
            "Current capability: 70.",
            "VllmConfig",
        ),
        _CONFIG,
    ),
    "uneven-heads": Failure(
        "server",
        _invalid("Total number of attention heads (4) must be divisible by tensor parallel size (3).", "VllmConfig"),
        _CONFIG,
    ),
    "missing-template": Failure(
        "server",
        "vllm.exceptions.VLLMValidationError: The supplied chat template (%(template)s) looks like a file path, but "
        "it failed to be opened. Tried: %(template)s and %(template)s. Reason: [Errno 2] No such file or directory: "
        "'%(template)s' (parameter=chat_template)",
        ("vllm/renderers/chat_utils.py load_chat_template", "vllm/renderers/chat_utils.py _load_chat_template"),
    ),
    # --- in the engine: weights and memory
    "missing-weights": Failure("engine", "RuntimeError: Cannot find any model weights with `%(model)s`", _WEIGHTS),
    "broken-weights": Failure(
        "engine",
        "safetensors._safetensors_rust.SafetensorError: Error while deserializing header: incomplete metadata, file "
        "not fully covered",
        (*_LOAD, "vllm/model_executor/model_loader/weight_utils.py safetensors_weights_iterator"),
    ),
    "disk-full": Failure(
        "engine",
        "OSError: [Errno 28] No space left on device",
        (*_WEIGHTS, "huggingface_hub/file_download.py http_get"),
    ),
    "oom": Failure(
        "engine",
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 224.00 MiB. GPU 0 has a total capacity of "
        "23.64 GiB of which 112.81 MiB is free. Including non-PyTorch memory, this process has 23.52 GiB memory in "
        "use. Of the allocated memory 23.06 GiB is allocated by PyTorch, and 13.45 MiB is reserved by PyTorch but "
        "unallocated. If reserved but unallocated memory is large try setting "
        "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation.  See documentation for Memory "
        "Management  (https://pytorch.org/docs/stable/notes/cuda.html#environment-variables)",
        (*_LOAD, "torch/utils/_device.py __torch_function__"),
    ),
    "device-busy": Failure(
        "engine",
        "ValueError: Free memory on device cuda:0 (3.22/23.64 GiB) on startup is less than desired GPU memory "
        "utilization (0.92, 21.75 GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes.",
        ("vllm/v1/worker/gpu_worker.py init_device", "vllm/v1/worker/utils.py request_memory"),
    ),
    "cpu-busy": Failure(
        "engine",
        "ValueError: Available memory on node 0 (3.22/23.5 GiB) on startup is less than desired CPU memory utilization "
        "(0.92, 21.62 GiB). On the CPU backend, the `--gpu-memory-utilization` flag controls the fraction of CPU "
        "memory reserved (despite its name). To resolve: decrease `--gpu-memory-utilization` (e.g. "
        "`--gpu-memory-utilization 0.5`) or reduce CPU memory used by other processes.",
        ("vllm/v1/worker/cpu_worker.py __init__",),
    ),
    "no-kv-cache": Failure(
        "engine",
        "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when "
        "initializing the engine (this flag also controls CPU memory reservation on the CPU backend, despite its "
        f"name). See {KEPT_MEMORY} for more details.",
        _CACHE,
    ),
    "kv-too-small": Failure(
        "engine",
        "ValueError: To serve at least one request with the model's max seq len (%(length)s), (4.0 GiB KV cache is "
        "needed, which is larger than the available KV cache memory (1.5 GiB). Based on the available memory, the "
        "estimated maximum model length is 768. Try increasing `gpu_memory_utilization` (which also controls CPU "
        "memory on the CPU backend) or decreasing `max_model_len` when initializing the engine. "
        f"See {KEPT_MEMORY} for more details.",
        _CACHE,
    ),
}

UNFINISHED = ("hang", "exit", "killed")
"""Starts that fail without a word: loading for ever; the server gone; the engine killed, as for want of memory."""


def traceback(calls: tuple[str, ...], words: str) -> str:
    """The text of a traceback, without lines of source, which are not there where a package has none."""
    frames = (call.partition(" ") for call in calls)
    lines = [f'  File "/site-packages/{file}", line 1, in {function}' for file, _, function in frames]
    return "\n".join(["Traceback (most recent call last):", *lines, words]) if calls else words
