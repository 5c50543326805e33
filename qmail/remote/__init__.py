"""Remote delivery: routes, MX, the SMTP client."""
