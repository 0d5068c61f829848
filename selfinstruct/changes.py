"""What a change between two starts of a run means, field by field of the recipe and the settings."""

from __future__ import annotations

from typing import Final, Literal

CLASSES: dict[Literal["identity", "operational", "extending"], frozenset[str]] = {
    # A change may change a byte of a shard: another run. Fields of the recipe, a stage's with its table before them;
    # ``model`` counts by the endpoint it becomes, ``seed_tasks`` by what is in the file, ``rules`` as a whole.
    "identity": frozenset(
        """method lang seed seed_tasks round_size rounds_per_shard lag in_step user assistant judge pool
        model.api model.endpoint model.name model.base_url model.token_field model.omit model.extra_body model.limits
        model.json_mode model.send_seed model.reproducible model.context model.engine model.rendering model.alias
        bootstrap.temperature bootstrap.top_p bootstrap.presence_penalty bootstrap.frequency_penalty
        bootstrap.max_tokens bootstrap.num_demos bootstrap.machine_demos bootstrap.new_tasks bootstrap.threshold
        bootstrap.similar bootstrap.rules bootstrap.use
        classify.temperature classify.top_p classify.presence_penalty classify.frequency_penalty classify.max_tokens
        classify.demos classify.resamples classify.resample_temperature
        instances.temperature instances.top_p instances.presence_penalty instances.frequency_penalty
        instances.max_tokens instances.max_tokens_classification instances.demos_output_first
        instances.demos_input_first instances.max_instances instances.keep instances.min_output_words
        instances.max_ngram_repeats instances.use
        alpaca.temperature alpaca.top_p alpaca.presence_penalty alpaca.frequency_penalty alpaca.max_tokens
        alpaca.format alpaca.num_demos alpaca.machine_demos alpaca.tasks alpaca.threshold alpaca.similar alpaca.rules
        alpaca.min_output_words alpaca.max_ngram_repeats alpaca.use
        belle.temperature belle.top_p belle.presence_penalty belle.frequency_penalty belle.max_tokens
        belle.format belle.num_demos belle.machine_demos belle.tasks belle.threshold belle.similar belle.rules
        belle.min_output_words belle.max_ngram_repeats belle.use
        topics.temperature topics.top_p topics.presence_penalty topics.frequency_penalty topics.max_tokens
        topics.file topics.subtopics topics.threshold topics.similar
        openers.temperature openers.top_p openers.presence_penalty openers.frequency_penalty openers.max_tokens
        openers.entry openers.source openers.questions openers.related openers.related_share openers.types
        openers.instructions openers.requests openers.passage_tokens openers.too_long openers.threshold
        openers.similar openers.use
        expand.temperature expand.top_p expand.presence_penalty expand.frequency_penalty expand.max_tokens
        expand.share
        dialogue.temperature dialogue.top_p dialogue.presence_penalty dialogue.frequency_penalty dialogue.max_tokens
        dialogue.sector dialogue.rounds dialogue.user_temperature dialogue.user_top_p dialogue.user_max_tokens
        dialogue.assistant_context dialogue.user_context dialogue.resamples dialogue.personas
        instructions.entry instructions.source
        sample.temperature sample.top_p sample.presence_penalty sample.frequency_penalty sample.max_tokens
        sample.models sample.design sample.principles sample.shares sample.resamples
        rate.temperature rate.top_p rate.presence_penalty rate.frequency_penalty rate.max_tokens rate.format
        rate.rationale_first rate.max_reasks rate.swap_check rate.not_applicable
        critique.temperature critique.top_p critique.presence_penalty critique.frequency_penalty critique.max_tokens
        critique.enabled critique.format critique.max_reasks
        binarize.score binarize.rejected binarize.exclude_source""".split()
    ),
    # How, how fast and for how much: may differ at every start. Fields of the settings, and where a model is found.
    "operational": frozenset(
        """output_dir concurrency rpm tpm timeout give_up_after deadline max_cost max_calls max_tokens_total price
        user_price assistant_price judge_price until answer_tokens turn_tokens sync max_unusable threads gguf
        replay_from allow_network_fs openai_api_key
        user_api_key assistant_api_key judge_api_key openai_base_url vllm_python vllm_start_timeout vllm_restarts gpus
        model.replicas model.key_variable model.price""".split()
    ),
    # A larger one goes on where the smaller one ended.
    "extending": frozenset({"target"}),
}
"""What a change between two starts of a run means. A new field has to be listed: a test fails for one that is not."""


PATHS: Final = frozenset({"topics.file", "openers.source", "openers.types", "dialogue.personas", "instructions.source"})
"""Fields of a recipe that name files or runs of the user's: what is in those counts, by the digests of a `Link`."""

AS_CONTENT: Final = PATHS | {"seed_tasks", "user", "assistant", "judge", "pool"}
"""Fields of a recipe that count by what they stand for: files, and who is asked in a role."""
