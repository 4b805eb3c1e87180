"""File formats, one file each: how bytes become arrays or tables."""
