"""Coded training beside copies, MDS rows and columns, and no code, at equal numbers of nodes."""
