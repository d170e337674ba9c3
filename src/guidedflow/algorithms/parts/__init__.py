"""What several papers' algorithms share."""
