"""Training of the multimodal language model on conversations about images and videos (AToken paper, section 5.1)."""
