"""Many instances: an audit, its record, and what can be made of it."""
