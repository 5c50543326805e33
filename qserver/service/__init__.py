"""supervise and svscan: status and control formats, the state machine, the scanner."""
