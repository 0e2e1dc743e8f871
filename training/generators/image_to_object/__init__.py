"""Training of image to 3D on corpora of objects (AToken paper, section 5.5)."""
