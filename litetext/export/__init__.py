"""Students into the folders and files that other programs open: written, compared with ours, described."""
