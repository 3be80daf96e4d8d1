"""What a method says of its own training: its task, and the words and losses of one."""
