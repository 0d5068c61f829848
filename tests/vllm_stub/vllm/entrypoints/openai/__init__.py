"""The server that speaks the OpenAI wire format."""
