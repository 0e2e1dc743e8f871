"""Training of generators of latents and codes on corpora of tokens (AToken paper, sections 5.2 and 5.3)."""
