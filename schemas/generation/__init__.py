"""What is generated from the ``.avsc`` files and committed: typed dicts, event models, the reference. Pure text in, text out."""
