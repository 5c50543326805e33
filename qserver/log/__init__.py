"""multilog: script language, log directories, rotation, time stamps."""
