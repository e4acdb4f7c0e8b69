"""A procedurally drawn world of coloured shapes: a caption grammar, a renderer and a judge."""
