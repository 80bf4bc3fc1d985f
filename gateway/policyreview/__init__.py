"""What a change of the policies means: explained, compared, and replayed on recorded decisions."""
