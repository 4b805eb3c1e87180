"""The fused losses as functions, one file a family."""
