"""The headers of model folders and latents files, read without torch."""
