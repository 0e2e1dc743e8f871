"""What model folders and latents files say about themselves, read without torch."""
