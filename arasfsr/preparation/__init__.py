"""Preparation: finds and aligns faces in photographs, for training and testing.

faces       faces and their eyes in a photograph
align       the aligned square of a face, and its sharpness
manifest    what became of each face
prepare     a folder of photographs from beginning to end
"""
