"""Programs: functions compiled ahead of time, parameters prepared, for this machine."""
