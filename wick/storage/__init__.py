"""What is read from and written to disks and databases: recordings, dumps, stores, the tick log."""
