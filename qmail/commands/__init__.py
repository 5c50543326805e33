"""One module per command; its docstring is its page."""
