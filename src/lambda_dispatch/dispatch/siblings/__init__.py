"""The sibling hop: borrow asks another worker for a slot, lend gives one. borrow.pxd has the theory."""
