"""Calibration: reliability tables, calibration errors, temperature scaling."""
