"""Numerical routines shared by the methods."""
