"""What every process needs to be operated: the settings table and the log."""
