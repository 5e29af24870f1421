"""The search of `modelspec tune`: every trial is an ordinary cached build of a changed spec, of which nothing is published."""
