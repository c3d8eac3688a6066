# Nothing of this module is visible to Python; the channel's tests see what it writes.
