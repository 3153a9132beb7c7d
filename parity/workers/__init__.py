"""Workers: one child process per framework, so that the parent never imports one.

`client.py` is the parent's side (`Worker`), `worker.py` the child's; `wire.py` is the message format that both
speak, and `process.py` starts a child, waits for it and ends it.
"""
