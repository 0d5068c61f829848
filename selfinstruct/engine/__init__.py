"""The engine: vLLM as a managed server, in a process and an environment of its own; its options, its words, its end."""
