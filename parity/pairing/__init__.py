"""Which layer and weight of one framework belongs to which of the other."""
