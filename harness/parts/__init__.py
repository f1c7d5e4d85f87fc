"""What trainings are made of: data and models."""
