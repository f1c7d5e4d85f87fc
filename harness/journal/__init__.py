"""The truth about a study: its journal, who writes it and who reads it."""
