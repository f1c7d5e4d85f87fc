"""What a study is, and how its file is read."""
