"""Find images, decode them, and convert pixels to features."""
