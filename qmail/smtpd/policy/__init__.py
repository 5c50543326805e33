"""The checks of qmail-smtpd, one file each."""
