"""Short links of ours: what they are called, where they may lead, who followed them."""
