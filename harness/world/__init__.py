"""A procedurally drawn world of coloured shapes: captions, pictures, and a judge of both."""
