"""Settings: a frozen dataclass a plane; defaults < file < environment < flags (architecture section 10)."""
