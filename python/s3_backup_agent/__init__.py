"""The package holds a program, `s3-backup-agent`, and nothing to import."""
