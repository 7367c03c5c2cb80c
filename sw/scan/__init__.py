"""Where files refer to others: one scanner a syntax, each giving the spans of what its file names.

Takes the bytes of a file, gives ``Reference`` values; ``text`` → ``styles``, ``scripts``, ``documents`` → ``markup`` → ``kinds``.
A scanner reads the syntax, never the neighbourhood: what only looks like a reference is none.
"""
