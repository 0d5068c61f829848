"""Who answers: backends (a server, llama.cpp in this process, a script) and the wrappers around them.

A backend makes one attempt and says what became of it; retries, the ledger and the cost cap are wrappers with the same
two methods: ``Recorded(Retrying(Admitted(backend)))``.
"""
