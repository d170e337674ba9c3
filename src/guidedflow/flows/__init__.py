"""Flows: functions of one action and one time. No network, no data."""
