"""Show what was found: photos, figures, drawings of networks, and a page to explore maps in."""
