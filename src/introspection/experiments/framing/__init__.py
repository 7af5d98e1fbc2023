"""Is it the framing? The same questions after a turn 1 that announces an injection, denies one, says nothing of any, or
supposes one."""
