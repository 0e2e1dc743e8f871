"""Training of a generator of images and videos of texts, on corpora with captions (AToken paper, section 5.4)."""
