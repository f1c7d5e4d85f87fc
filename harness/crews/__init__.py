"""Who trains which stacks, and what goes wrong there."""
