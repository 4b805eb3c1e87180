"""Images: finding them, decoding them, and turning pixels into features."""
