"""What the simulator is held against: closed forms, and a live cluster."""
