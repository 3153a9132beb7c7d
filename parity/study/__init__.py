"""Training both frameworks alike, and measuring what they learnt."""
