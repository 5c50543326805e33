"""The queue: names and formats on disk, the crash-safe writer, the client, the service."""
