"""Tools a model can call in a conversation, and the environment that runs its calls."""
