"""Report -> bytes or a Rich renderable. One format, one file; nothing here opens a file."""
