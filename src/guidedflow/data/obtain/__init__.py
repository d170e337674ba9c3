"""How datasets are obtained: downloads, and collection by scripted oracles."""
