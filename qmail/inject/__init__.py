"""qmail-inject: RFC 822 tokens, rewriting, fields."""
