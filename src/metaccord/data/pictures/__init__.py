"""Pictures in files: what is there, what each holds, and a cache of them decoded."""
