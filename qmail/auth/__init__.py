"""checkpassword protocol, users/authuser, password schemes."""
