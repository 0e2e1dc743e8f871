"""Numbers that other environments have measured, read from the files that they write, with all they depend on."""
