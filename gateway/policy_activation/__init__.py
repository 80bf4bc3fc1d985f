"""From a bundle to the revision that every worker decides by: where it comes from, what it must bring, the way back."""
